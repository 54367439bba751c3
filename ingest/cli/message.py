"""The command that says what became of one message: message."""

import sys
from typing import TYPE_CHECKING

import click

from ingest.cli.options import WORDS, json_document, settings_with
from ingest.cli.times import with_zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


@click.command()
@click.argument("message_id", type=WORDS)
@with_zone
@json_document()
def message(message_id: str, as_json: bool, zone: "ZoneInfo") -> None:
    """Say what became of one message: how many events of each type, and when the first was.

    This is its row of the view message_stats, found by an index in every database. The exit code is 1 if the store
    has no event of it.
    """
    from ingest.cli.render import message as render
    from workers.operations.message import message as find
    from workers.store.store import Store

    with Store.of(settings_with()) as store:
        found = find(store, message_id)
    if found is None:
        click.echo("ingest: The store has no event of this message.", err=True)
        sys.exit(1)
    render.message(found, as_json, zone)


COMMANDS = (message,)
