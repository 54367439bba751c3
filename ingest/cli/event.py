"""The command that shows one event with its whole way: event."""

import sys
from typing import TYPE_CHECKING

import click

from ingest.cli.options import json_document, settings_with
from ingest.cli.paging import no_pager, paged
from ingest.cli.times import with_zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


@click.command("event")
@click.argument("delivery_id")
@with_zone
@json_document()
@no_pager
def event(delivery_id: str, as_json: bool, no_pager: bool, zone: "ZoneInfo") -> None:
    """Show one event: every field, and its way from Copernica to the last handler.

    The exit code is 1 if there is no such event.
    """
    from ingest.cli.render import console
    from ingest.cli.render import event as render
    from workers.operations.event.finding import Where, parsed
    from workers.operations.event.report import report
    from workers.store.store import Store

    key = parsed(delivery_id.strip())
    if key is None:
        raise click.BadParameter("it should be 24 hex digits, as `ingest events --format jsonl` shows them")
    settings = settings_with()
    with Store.of(settings) as store:
        known = report(store, key, settings.shortest_retention)
        if known.found.where is Where.UPGRADED and known.found.other is not None and not as_json:
            click.echo(f"{key.hex()} came late; its event is {known.found.other.hex()}.", err=True)
            known = report(store, known.found.other, settings.shortest_retention)
    with paged(not (no_pager or as_json)):
        if as_json:
            console.print_json(known.as_json())
        else:
            render.event(known, zone)
    sys.exit(0 if known.found.event is not None else 1)


COMMANDS = (event,)
