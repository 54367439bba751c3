"""Files and functions stay small enough to be read at a sitting; ruff looks after complexity."""

import ast

from tests.support.source import ROOT, statements

FILES = sorted([*ROOT.glob("ingest/**/*.py"), *ROOT.glob("workers/**/*.py")])
#: Lines of a file, and of a function from its `def` to its end.
MAX_FILE, MAX_FUNCTION = 350, 50


def test_no_file_is_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_FILE} == {}


def test_no_function_is_long() -> None:
    lengths = {
        f"{path.relative_to(ROOT)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in FILES
        for node in statements(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION} == {}
