"""Whether a function can be a handler, judged when it is marked: what is wrong would else fail with each event.

def h(event: Event)            async def h(event: Event)             without `batch`
def h(events: list[Event])     async def h(events: list[Event])      with `batch`
"""

import inspect
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, get_args, get_origin, get_type_hints

from ingest.copernica.events import Event


def require_handler(function: Callable[..., Any], batch: int | None) -> None:
    """Make sure that a function can be called as a handler is.

    Raises:
        ValueError: it cannot; the message says how to write it.
    """
    if not callable(function):
        raise ValueError(f"{function!r} is no function: write @on(…) above one")
    name = getattr(function, "__name__", repr(function))
    how = "def {}(events: list[Event])" if batch is not None else "def {}(event: Event)"
    wanted = f"write {how.format(name)}"
    if inspect.isclass(function):
        raise ValueError(f"{name} is a class, and a handler is a function: {wanted}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ValueError(f"{name}() has a `yield`, so calling it does nothing: {wanted} without one")
    signature = _signature(function)
    if signature is None:
        return
    try:
        signature.bind(object())
    except TypeError:
        raise ValueError(f"{name}{_shown(signature)} cannot be called with one argument: {wanted}") from None
    hint = _hint(function, signature)
    if batch is None and _holds_several(hint):
        raise ValueError(f"{name}() wants several events at once: add batch=500 to @on(…), or {wanted}")
    if batch is not None and hint is Event:
        raise ValueError(f"{name}() wants one event, and batch={batch} gives it a list: {wanted}")


def require_done(answer: object) -> None:
    """Make sure that a plain function has done its work when it returns.

    Raises:
        TypeError: it has not: it returned a coroutine, as what wraps an `async def` may do, and nobody runs that.
    """
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError("the handler returned a coroutine: put `async` before its `def`, and await that there")


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """The parameters of a function; None of one in C that does not tell."""
    how: dict[str, Any] = {}
    if sys.version_info >= (3, 14):  # names that only type checkers import are left alone
        import annotationlib  # noqa: PLC0415

        how["annotation_format"] = annotationlib.Format.FORWARDREF
    try:
        return inspect.signature(function, **how)
    except (ValueError, TypeError):
        return None


def _shown(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"


def _hint(function: Callable[..., Any], signature: inspect.Signature) -> object:
    """What the first parameter is said to be; None if it is not said, or cannot be looked up."""
    with suppress(Exception):  # what is imported for type checkers only, say
        return get_type_hints(function).get(next(iter(signature.parameters)))
    return None


def _holds_several(hint: object) -> bool:
    """Whether a type is that of several events: `list[Event]`, `Sequence[Event]`."""
    origin = get_origin(hint)
    several = isinstance(origin, type) and issubclass(origin, Iterable | Collection)
    return several and get_args(hint)[:1] == (Event,)
