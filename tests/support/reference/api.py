"""The page of what your own Python may import, with types and what each means."""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from enum import EnumType
from typing import Any

from ingest.testing import event
from tests.support.reference.markdown import code, page, table

#: The public modules, in the order of the page, and what each is for.
MODULES = {
    "ingest": "What handlers get.",
    "workers": "What marks them, and what they raise.",
    "ingest.copernica.api": "The client of Copernica's REST API; [its page](../client.md) shows it at work.",
    "ingest.endpoint.mounting": "The endpoint in an [aiohttp application](../how-to/python-apps.md).",
    "ingest.testing": "For the tests of handlers; [its page](../how-to/test-handlers.md) shows them.",
}
INTRODUCTION = """\
What is here stays as it is from release to release, except as the changelog says; all other modules may change at
any time. All of it has types, which `mypy --strict` and pyright check in your code. Times in whole numbers are in
µs since 1970, UTC, and durations in seconds, unless it says otherwise."""


def made() -> str:
    """The page."""
    parts = [part for name, about in MODULES.items() for part in (f"## `{name}`", about, *_members(name))]
    return page("Python", INTRODUCTION, *parts)


def _members(module: str) -> Iterator[str]:
    loaded = importlib.import_module(module)
    factories = []
    for name in sorted(loaded.__all__, key=lambda name: (not name[0].isupper(), name)):
        value = getattr(loaded, name)
        if inspect.isfunction(value) and "are those of `event`" in (value.__doc__ or ""):
            factories.append(code(name))
        elif inspect.isclass(value):
            yield f"### `{name}`"
            yield _about(value)
            yield from _class(value)
        elif inspect.isfunction(value):
            yield f"### `{name}`"
            yield f"```python\n{_signature(value)}\n```"
            yield _about(value)
        else:
            yield f"### `{name}`"
            yield f"A text: {code(value)}." if name != "__version__" else "The version, a text."
    if factories:
        yield "### One for each type"
        yield f"Each makes an event of its type, with the arguments of `{event.__name__}`: {', '.join(factories)}."


def _class(kind: type[Any]) -> Iterator[str]:
    """The members of a class."""
    if isinstance(kind, EnumType):
        yield ", ".join(code(str(member.value)) for member in kind) + "."
        return
    fields = [(code(name), code(said)) for name, said in _annotations(kind)]
    if fields:
        yield table(("attribute", "type"), fields)
    rows = []
    if not fields and "__init__" in vars(kind) and inspect.getsource(kind).count("def __init__"):
        rows.append((code(_signature(kind.__init__).replace("__init__", kind.__name__, 1)), _first(kind.__init__)))
    for name, value in _own(kind).items():
        if isinstance(value, property):
            rows.append(
                (code(f"{name}{_signature(value.fget).partition('()')[2]}".replace(" ->", ":")), _first(value))
            )
        elif inspect.isfunction(function := inspect.unwrap(getattr(value, "__func__", value))):
            rows.append((code(_signature(function)), _first(function)))
    if rows:
        yield table(("member", "is or does"), rows)


def _own(kind: type[Any]) -> dict[str, Any]:
    """The public members of a class and of those of ours that it derives from."""
    ours = [one for one in reversed(kind.__mro__) if one.__module__.startswith(("ingest", "workers"))]
    return {name: value for one in ours for name, value in vars(one).items() if not name.startswith("_")}


def _annotations(kind: type[Any]) -> list[tuple[str, str]]:
    """The fields of a tuple or a dataclass, as its source has them."""
    if not (hasattr(kind, "_fields") or hasattr(kind, "__dataclass_fields__")):
        return []
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    return [
        (ast.unparse(node.target), ast.unparse(node.annotation))
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
    ]


def _signature(function: Any) -> str:
    """The head of a function, as its source has it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body[0]
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    arguments = tree.args
    for side in (arguments.posonlyargs, arguments.args):
        side[:] = [one for one in side if one.arg not in ("self", "cls")]
    returns = f" -> {ast.unparse(tree.returns)}" if tree.returns and tree.name != "__init__" else ""
    head = "async " if isinstance(tree, ast.AsyncFunctionDef) else ""
    return f"{head}{tree.name}({ast.unparse(arguments)}){returns}"


def _first(value: Any) -> str:
    text = (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")
    return "" if text.startswith("Initialize self") else text


def _about(value: Any) -> str:
    """What its docstring says, its sections of arguments and errors as lists."""
    lines = []
    for line in (inspect.getdoc(value) or "").splitlines():
        if line in ("Args:", "Raises:"):
            lines.append({"Args:": "Arguments:\n", "Raises:": "Raises:\n"}[line])
        elif line.startswith("    ") and not line.startswith("     "):
            name, _, rest = line.strip().partition(":")
            lines.append(f"- `{name}`:{rest}" if rest else line.strip())
        else:
            lines.append(line.strip() if not line.startswith("     ") else f"  {line.strip()}")
    return "\n".join(lines)
