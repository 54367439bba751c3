"""Every line that the program logs has a name by which it is found."""

import ast
import re
from collections.abc import Iterator

from ingest.json_log import event_name
from tests.support.source import modules, parsed

#: What writes a line.
LEVELS = {"debug", "info", "warning", "error", "exception", "log"}


def templates() -> Iterator[tuple[str, str, bool]]:
    """Every line that the program logs: where, its template, and whether its kind has a name of its own."""
    for name, path in modules().items():
        for node in ast.walk(parsed(path)) if re.search(r"\b_?log\.\w+\(", path.read_text()) else ():
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr not in LEVELS or ast.unparse(node.func.value) not in ("log", "self._log"):
                continue
            text = node.args[1 if node.func.attr == "log" else 0]
            if isinstance(text, ast.Constant):
                named = any(word.arg == "extra" and "'event'" in ast.unparse(word.value) for word in node.keywords)
                yield name, str(text.value), named


def test_each_kind_of_line_has_a_name_that_says_something() -> None:
    found = list(templates())
    assert len(found) > 80
    nameless = [
        (where, text) for where, text, named in found if not named and not re.search("[a-z]{4}", event_name(text))
    ]
    assert nameless == []
    names: dict[str, set[tuple[str, ...]]] = {}
    for _, text, named in found:
        if not named:
            said = tuple(re.findall("[a-z0-9]+", re.sub("%[a-z]", " ", text.lower())))  # in all its words
            names.setdefault(event_name(text), set()).add(said)
    assert [texts for texts in names.values() if len(texts) > 1] == []
