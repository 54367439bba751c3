"""Options whose values are names from a list: in any case, and with the nearest name for one that is not there."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from ingest import shown
from ingest.copernica.event_types import EventType

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class OneOf(click.Choice[str]):
    """One of several names, in upper or lower case."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__([str(name) for name in names], case_sensitive=False)

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """As names are compared: `PROFILE_CREATE` is `profile-create`."""
        return str(choice).strip().casefold().replace("_", "-")

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What is wrong, and the nearest name."""
        return (
            f"{str(value)!r} is none of {', '.join(self.choices)}.{shown.did_you_mean(str(value), self.choices)}"
        )


class Listed(click.ParamType[tuple[str, ...]]):
    """Several values of another type, with commas; each once."""

    def __init__(self, of: click.ParamType[str], name: str) -> None:
        self.of = of
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """To the values."""
        if isinstance(value, tuple):
            return value
        names = [name.strip() for name in str(value).split(",") if name.strip()]
        return tuple(dict.fromkeys(self.of.convert(name, param, ctx) for name in names))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        """Complete what stands behind the last comma with what is not there yet."""
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",")
        found = self.of.shell_complete(ctx, param, last)
        there = before.split(",")
        return [CompletionItem(f"{before}{comma}{item.value}") for item in found if item.value not in there]


class Types(Listed):
    """Types of events, with commas."""

    def __init__(self, types: Iterable[str] = EventType) -> None:
        super().__init__(OneOf(types), "types")

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[EventType, ...]:
        """To the types."""
        return tuple(EventType(name) for name in super().convert(value, param, ctx))


#: What completes a value that is being typed.
Completing = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]
