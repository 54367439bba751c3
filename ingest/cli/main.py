"""The `ingest` command. Each command reads the settings, calls one function and shows what came of it."""

import logging
import sys
from pathlib import Path
from typing import Any

import click

from ingest import __version__
from ingest.cli import events, handlers, reconcile, simulation, webhooks
from ingest.cli.options import settings_with
from ingest.errors import IngestError, SchemaMismatch, Unavailable
from ingest.settings import Settings


class Command(click.Group):
    """Turns our errors into one sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run; an `IngestError` ends with its sentence, a closed pipe with nothing."""
        try:
            return super().invoke(ctx)
        except IngestError as error:
            click.echo(f"ingest: {error}", err=True)
            ctx.exit(error.exit_code)


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ingest")
def main() -> None:
    """Take every Copernica webhook at once, keep it safe, work through the pile at your own pace."""


GROUPS = (events, handlers, reconcile, simulation, webhooks)
for command in (command for group in GROUPS for command in group.COMMANDS):
    main.add_command(command)


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the endpoint.  [default: 8000]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where everything is kept.  [default: data]")
def dev(port: int | None, data_dir: Path | None) -> None:
    """Run everything on this machine: endpoint, private Redis, worker."""
    from ingest.dev.run import dev as run

    run(settings_with(port=port, data_dir=data_dir))


@main.command()
@click.option("--listening", type=int, hidden=True)
@click.option("--number", type=int, default=1, hidden=True)
def serve(listening: int | None, number: int) -> None:
    """Run the endpoint: WEB_CONCURRENCY processes on one port."""
    settings = settings_with()
    if listening is not None:
        from ingest.endpoint import process

        process.serve_socket(settings, listening, number)
        return
    from ingest.endpoint import supervisor

    _require_schema(settings)
    supervisor.serve(settings)


def _require_schema(settings: Settings) -> None:
    """Refuse tables of another release; a database that is away or not there is no reason not to take calls."""
    from workers.store.store import Store

    try:
        Store.open(settings.database).close()
    except SchemaMismatch:
        raise
    except Unavailable as error:
        logging.getLogger(__name__).warning("%s", error)


@main.command()
@click.option("--queue", type=click.Choice(["events", "handlers"]), default="events", show_default=True)
@click.option("--burst", is_flag=True, help="Leave when the queue is empty.")
def worker(queue: str, burst: bool) -> None:
    """Run an RQ worker; as many as you like, on as many machines as you like."""
    from workers.process import worker

    worker.run(settings_with(), queue, burst)


@main.command()
def drain() -> None:
    """Drain the backlog once, in this process, without RQ: for cron, and for emergencies."""
    from workers.drain.drain import coming_to_an_end, drain_once
    from workers.drain.late_verification import verify_once

    settings = settings_with()
    with coming_to_an_end():
        drained, left = drain_once(settings)
        waiting = verify_once(settings)
    click.echo(
        f"{drained.events_stored} events stored, {drained.doubles} were there already, "
        f"{drained.quarantined} unreadable, {drained.dead} damaged batches, in {drained.seconds:.1f} s."
    )
    if left:
        click.echo(f"{left} batches are in the hands of other drains.")
    if waiting:
        click.echo(f"{waiting} calls could not be verified yet, because their key cannot be had.")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def status(as_json: bool) -> None:
    """Show the backlog, its age, rates, workers, and what is in the store."""
    from ingest.cli.render.status import status
    from workers.operations.status import gather

    figures = gather(settings_with())
    status(figures, as_json)
    if figures.troubles:
        raise Unavailable(" ".join(figures.troubles))


@main.command()
@click.option("--key-id", help="A key id to look up, as in a Signature header.")
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def check(key_id: str | None, as_json: bool) -> None:
    """Look at the whole set-up and say what is wrong or risky."""
    from ingest.cli.render import console
    from workers.operations.check import Level, check

    worst = console.findings(check(settings_with(), key_id), as_json)
    sys.exit(1 if worst == Level.WRONG else 0)
