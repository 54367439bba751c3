"""The `ingest` command. Each command reads the settings, calls one function and shows what came of it."""

import logging
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest import __version__
from ingest.cli import events, handlers, reconcile, webhooks
from ingest.cli.options import settings_with
from ingest.errors import IngestError, SchemaMismatch, SettingsError, Unavailable
from ingest.settings import SIGNER_FILE, Settings

if TYPE_CHECKING:
    from ingest.simulation.signer import Signer


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


GROUPS = (events, handlers, reconcile, webhooks)
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
@click.option("--url", help="Where to send.  [default: the endpoint of these settings]")
@click.option("--events", type=click.IntRange(1), default=1000, show_default=True, help="How many.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Calls per second.  [default: no limit]")
@click.option("--types", help="Comma list of event types.  [default: all, as in a real mailing]")
@click.option("--connections", type=click.IntRange(1, 1000), default=16, show_default=True)
@click.option("--seed", type=int, help="The same seed sends the same calls, byte for byte.")
@click.option("--key", type=click.Path(path_type=Path), help="Who signs.  [default: what `ingest dev` made]")
@click.option("--unsigned", is_flag=True, help="Send without signatures.")
@click.option(
    "--forge", type=click.FloatRange(0, 1), default=0.0, help="Share of forged calls, all to be refused."
)
@click.option(
    "--keep-going", is_flag=True, help="Hold to --rate whether or not anybody answers, as Copernica does."
)
@click.option(
    "--with-logfiles",
    "logs",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder to write Copernica's log files of it to.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def simulate(
    url: str | None,
    events: int,
    rate: float | None,
    types: str | None,
    connections: int,
    seed: int | None,
    key: Path | None,
    unsigned: bool,
    forge: float,
    keep_going: bool,
    logs: Path | None,
    as_json: bool,
) -> None:
    """Send realistic calls, as Copernica does after a mailing."""
    import uvloop

    from ingest.cli.render import console
    from ingest.simulation.calls import Simulator, chosen_types
    from ingest.simulation.logwriter import LogFolder
    from ingest.simulation.sender import Sender, Target

    if keep_going and rate is None:
        raise SettingsError("--keep-going needs a pace to keep: add --rate.")
    settings = settings_with()
    signer = None if unsigned else _signer(settings, key)
    if forge and signer is None:
        raise SettingsError("--forge needs a signer to imitate: start `ingest dev`, or name one with --key.")
    url = url or f"http://{settings.host}:{settings.port}{settings.path or '/'}"
    target = Target(url, signer, forge)
    calls = Simulator(seed, chosen_types(types))
    with LogFolder(logs) if logs else nullcontext() as folder:
        sender = Sender(target, iter(calls), events, rate, keep_going, folder)
        with console.sending(sender, events, quiet=as_json):
            report = uvloop.run(sender.run(connections))
    console.report(report, as_json)
    sys.exit(0 if report.complete else 1)


def _signer(settings: Settings, key: Path | None) -> "Signer | None":
    from ingest.simulation.signer import Signer

    made_by_dev = settings.data_dir / SIGNER_FILE
    if key is None and not made_by_dev.exists():
        return None
    return Signer.load(key or made_by_dev)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def status(as_json: bool) -> None:
    """Show the backlog, its age, rates, workers, and what is in the store."""
    from ingest.cli.render import console
    from workers.operations.status import gather

    figures = gather(settings_with())
    console.status(figures, as_json)
    if figures["troubles"]:
        raise Unavailable(" ".join(figures["troubles"]))


@main.command()
@click.option("--key-id", help="A key id to look up, as in a Signature header.")
@click.option("--json", "as_json", is_flag=True, help="For a script.")
def check(key_id: str | None, as_json: bool) -> None:
    """Look at the whole set-up and say what is wrong or risky."""
    from ingest.cli.render import console
    from workers.operations.check import Level, check

    worst = console.findings(check(settings_with(), key_id), as_json)
    sys.exit(1 if worst == Level.WRONG else 0)
