"""The tree of errors is drawn as it is, and it is the only one."""

import ast
import re
from pathlib import Path

import pytest

from ingest import errors
from ingest.errors import IngestError

ROOT = Path(__file__).parents[2]


def drawn() -> dict[str, str]:
    """Each class in the drawing, in its order, with the class it hangs from."""
    parents: dict[str, str] = {}
    branch: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r" {4}((?:│   |    )*)(├── |└── )?([A-Z]\w+) ", line):
            depth = len(match[1]) // 4 + bool(match[2])
            branch[depth:] = [match[3]]
            parents[match[3]] = branch[depth - 1] if depth else "Exception"
    return parents


def defined() -> dict[str, str]:
    """Each class in the module, in its order, with its base."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    return {one.__name__: one.__bases__[0].__name__ for one in classes if issubclass(one, IngestError)}


def test_the_drawing_shows_every_error_in_its_place() -> None:
    assert list(drawn().items()) == list(defined().items())


def test_only_a_wrong_setting_has_an_exit_code_of_its_own() -> None:
    codes = {name: getattr(errors, name).exit_code for name in defined()}
    assert codes == {**dict.fromkeys(defined(), 1), "SettingsError": 2}


@pytest.mark.parametrize("folder", ["ingest", "workers"])
def test_no_error_of_the_tree_is_defined_elsewhere(folder: str) -> None:
    elsewhere = [
        f"{path}: {node.name}"
        for path in (ROOT / folder).rglob("*.py")
        if path != ROOT / "ingest" / "errors.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")  # caught in the module that raises it
        and {base.attr if isinstance(base, ast.Attribute) else ast.unparse(base) for base in node.bases}
        & defined().keys()
    ]
    assert elsewhere == []
