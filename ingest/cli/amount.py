"""Options whose values are rates, spans of time or sizes, as people type them."""

from collections.abc import Callable
from typing import Any

import click


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
