"""The commands that run the program: dev, all, serve, worker, drain."""

import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Exit

from ingest import garbage
from ingest.cli.choices import OneOf
from ingest.cli.interruption import INTERRUPTED
from ingest.cli.options import settings_with
from ingest.errors import SchemaOlder, Unavailable
from ingest.log import call_process
from ingest.shown import counted

if TYPE_CHECKING:
    from ingest.settings import Settings

log = logging.getLogger(__name__)


def started(**changes: Any) -> "Settings":
    """The settings of what runs for long; what lies around and only its owner should read is closed to others."""
    from ingest import redis_silence
    from ingest.private_files import close_to_others

    garbage.as_usual()
    settings = settings_with(**changes)
    redis_silence.ask_always()
    close_to_others(settings)
    return settings


def observe(settings: "Settings", process: str) -> None:
    """Name this process in what it tells, and have its errors reported."""
    from ingest import sentry

    call_process(process)
    sentry.set_up(settings, process)


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the endpoint.  [default: 8000]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder for all data.  [default: data]")
def dev(port: int | None, data_dir: Path | None) -> None:
    """Run everything on this machine: endpoint, private Redis, worker."""
    from ingest.dev import run

    run.dev(started(port=port, data_dir=data_dir))


@click.command("all")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Workers for events.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the endpoint.  [default: 8000]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder for all data.  [default: data]")
def all_parts(workers: int, port: int | None, data_dir: Path | None) -> None:
    """Run everything on one machine, for production: endpoint, workers, private Redis."""
    from ingest.dev import production

    production.run(started(port=port, data_dir=data_dir), workers)


@click.command()
@click.option("--listening", type=int, hidden=True)
@click.option("--number", type=int, default=1, hidden=True)
@click.option("--board", type=int, hidden=True)
def serve(listening: int | None, number: int, board: int | None) -> None:
    """Run the endpoint: WEB_CONCURRENCY processes on one port."""
    if listening is not None:  # a process of the endpoint that has been started
        from ingest.endpoint import process

        settings = settings_with()
        observe(settings, f"web.{number}")
        process.serve_socket(settings, listening, number, board)
        return
    settings = started()
    from ingest import sentry, tracing
    from ingest.endpoint import supervisor
    from ingest.processes import aside

    sentry.require(settings)
    if settings.otlp_endpoint is not None:
        aside(lambda: tracing.try_out(settings))  # the parent of the endpoint sends nothing

    _require_schema(settings)
    supervisor.serve(settings)


def _require_schema(settings: "Settings") -> None:
    """Refuse tables of an older release, whose workers could not read what this one writes.

    Not newer ones: while an upgrade is under way an endpoint may have to start again, and calls would be lost. Nor
    is a database that is missing or unreachable a reason to reject calls.
    """

    def look() -> None:
        from workers.store.store import Store

        Store.of(settings).close()

    from ingest.processes import aside

    try:
        aside(look)  # the parent of the endpoint needs no database after this
    except SchemaOlder:
        raise
    except Unavailable as error:
        log.warning("%s", error, extra={"event": "database-unavailable"})


@click.command()
@click.option(
    "--queue", type=OneOf(["events", "handlers"]), default="events", show_default=True, help="Whose jobs it takes."
)
@click.option("--burst", is_flag=True, help="Exit when the queue is empty.")
def worker(queue: str, burst: bool) -> None:
    """Run an RQ worker; start as many as you like, on as many machines as you like."""
    from workers.process import worker

    settings = started()
    observe(settings, f"worker.{queue}")
    worker.run(settings, queue, burst)


@click.command()
@click.option("--force", is_flag=True, help="Also while the queue `events` is paused.")
@click.option("--board", type=int, hidden=True)
@click.option("--without-queues", is_flag=True, hidden=True)
def drain(force: bool, board: int | None, without_queues: bool) -> None:
    """Drain the backlog once, in this process, without RQ: for cron, and for emergencies."""
    if without_queues:
        _drain_beside(board)
    else:
        _drain_once(force, board)


def _drain_beside(board: int | None) -> None:
    """What a worker starts while the server of the queues is away: drain the others until asked to stop."""
    from workers.drain.once import drain_beside
    from workers.metrics import BESIDE, left_on
    from workers.runtime import stop_on_signals

    settings = started()
    with stop_on_signals(), left_on(board, BESIDE):
        drain_beside(settings)


def _drain_once(force: bool, board: int | None) -> None:
    from workers.drain.late_verification import verify_once
    from workers.drain.once import drain_once
    from workers.metrics import left_on
    from workers.pausing import events_are_paused
    from workers.runtime import stop_on_signals

    settings = started()
    if not force and events_are_paused(settings):
        raise Unavailable("The queue `events` is paused: `ingest resume events` lets it go on, or add --force.")
    waiting = 0
    with stop_on_signals() as signals, left_on(board):
        drained, left = drain_once(settings)
        if not signals:
            waiting = verify_once(settings)
    late = f"{drained.upgraded:,} of events that had been recovered, " if drained.upgraded else ""
    click.echo(
        f"{counted(drained.events_stored, 'event')} stored, "
        f"{counted(drained.doubles, 'was', 'were')} there already, "
        f"{late}"
        f"{drained.erased:,} about people who were erased, "
        f"{drained.quarantined:,} unreadable, {counted(drained.dead, 'damaged batch', 'damaged batches')}, "
        f"in {drained.seconds:.1f} s."
    )
    if left:
        click.echo(f"{counted(left, 'batch is', 'batches are')} claimed by other drains.")
    if waiting:
        calls = counted(waiting, "call")
        click.echo(f"{calls} could not be verified yet, because the key is unavailable.")
    if signals:
        click.echo("Interrupted; what is left waits in Redis.", err=True)
        if signal.SIGINT in signals:
            raise Exit(INTERRUPTED)


COMMANDS = (dev, all_parts, serve, worker, drain)
