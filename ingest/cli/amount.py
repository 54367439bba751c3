"""Options whose values are rates, spans of time or sizes, as people type them."""

import math
from collections.abc import Callable
from typing import Any

import click

#: The largest whole number that is taken: more is a slip, and neither databases nor Python's own limits take it.
MOST = 10**18


class Finite(click.FloatRange):
    """A number between two others, for which click takes `nan` and, if none is the upper one, `1e999`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """To that number."""
        number = float(super().convert(value, param, ctx))
        return number if math.isfinite(number) else self.fail(f"{value!r} is no number.", param, ctx)


class Whole(click.IntRange):
    """A whole number of at most 18 digits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """To that number."""
        number = int(super().convert(value, param, ctx))
        return number if abs(number) < MOST else self.fail("that is too large a number.", param, ctx)


class Amount(click.ParamType[float]):
    """A rate, a span of time or a size."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """To events per second, seconds, or bytes."""
        from ingest.capacity import amounts

        if isinstance(value, float):
            return value
        readers: dict[str, Callable[[str], float]] = {
            "rate": amounts.rate, "time": amounts.span, "size": amounts.size,
        }  # fmt: skip  # a list to be read across
        try:
            return readers[self.name](str(value))
        except ValueError as error:
            return self.fail(f"{error}.", param, ctx)
