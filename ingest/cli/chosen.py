"""The options that choose events."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.choices import Types
from ingest.cli.options import WORDS
from ingest.cli.times import MOMENT, SINCE_HELP, in_order, with_zone

if TYPE_CHECKING:
    from workers.store.filters import Filter


def which_events(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose events."""
    options = (
        click.option(
            "--type", "types", type=Types(), default=(), help="Only these, comma-separated: open,click,…"
        ),
        click.option("--recipient", type=WORDS, help="Only this address; case does not matter."),
        click.option("--message", type=WORDS, help="Only this message id."),
        click.option("--since", type=MOMENT, help=SINCE_HELP),
        click.option("--until", type=MOMENT, help="Before this time; written like --since."),
        with_zone,
    )
    for option in reversed(options):
        command = option(command)
    return command


def filter_of(chosen: Mapping[str, Any]) -> "Filter":
    """The filter that the options of `which_events` describe.

    Raises:
        click.BadParameter: its span of time ends before it begins.
    """
    from workers.store.filters import Filter

    in_order(chosen["since"], chosen["until"])
    return Filter(chosen["types"], chosen["recipient"], chosen["message"], chosen["since"], chosen["until"])
