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


#: What becomes a part of a sentence of somebody else's, or is told to nobody.
NO_SENTENCES = {"CallRejected", "KeyUnavailable", "Undecodable", "BatchError", "Undelivered"}


def told(folder: str) -> list[tuple[str, str]]:
    """Where an error of the tree is made with a text that stands there, and that text; `…` is what differs."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and node.args
                and ast.unparse(node.func) in defined().keys() - NO_SENTENCES
            ):
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", written(node.args[0])))
    return [(place, text) for place, text in found if text]


def written(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    parts = node.values if isinstance(node, ast.JoinedStr) else []
    return "".join(written(part) or "…" for part in parts)


@pytest.mark.parametrize("folder", ["ingest", "workers"])
def test_what_people_are_told_is_one_sentence(folder: str) -> None:
    sentences = told(folder)
    assert len(sentences) > 80
    assert [one for one in sentences if not re.fullmatch(r"[A-Z…`-]((?![.!?] [A-Z…])[^\n])*[.…]", one[1])] == []
