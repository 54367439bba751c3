"""The tree of errors is drawn as it is, and it is the only one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ingest import errors
from ingest.errors import IngestError
from tests.support.source import ROOT, modules, parsed, statements


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


def of_the_tree() -> Iterator[Path]:
    """Each file that names an error of the tree; the tree itself is left out."""
    for path in sorted(modules().values()):
        if "errors" in path.read_text() and path != ROOT / "ingest" / "errors.py":
            yield path


def test_no_error_of_the_tree_is_defined_elsewhere() -> None:
    names = defined().keys()
    elsewhere = [
        f"{path}: {node.name}"
        for path in of_the_tree()
        for node in statements(path)
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")  # caught in the module that raises it
        and {base.attr if isinstance(base, ast.Attribute) else ast.unparse(base) for base in node.bases} & names
    ]
    assert elsewhere == []


#: What becomes a part of a sentence of somebody else's, or is told to nobody.
NO_SENTENCES = {"CallRejected", "KeyUnavailable", "Undecodable", "BatchError", "Undelivered"}


def told() -> list[tuple[str, str]]:
    """Where an error of the tree is made with a text that stands there, and that text; `…` is what differs."""
    found = []
    names = defined().keys() - NO_SENTENCES
    for path in of_the_tree():
        for node in ast.walk(parsed(path)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in names
                and node.args
            ):
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", written(node.args[0])))
    return [(place, text) for place, text in found if text]


def written(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    parts = node.values if isinstance(node, ast.JoinedStr) else []
    return "".join(written(part) or "…" for part in parts)


def test_what_people_are_told_is_one_sentence() -> None:
    sentences = told()
    assert len(sentences) > 200
    assert [one for one in sentences if not re.fullmatch(r"[A-Z…`-]((?![.!?] [A-Z…])[^\n])*[.…]", one[1])] == []
