"""The commands that stand in for Copernica: `simulate` sends its calls, `fake-api` answers as its REST API."""

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingest.cli.completion import types_of
from ingest.cli.interruption import INTERRUPTED
from ingest.cli.options import settings_with
from ingest.errors import SettingsError

if TYPE_CHECKING:
    from ingest.settings import Settings
    from ingest.simulation.signer import Signer


def _types() -> Iterable[str]:
    from ingest.simulation.calls import TYPES

    return TYPES


@click.command()
@click.option("--url", help="Where to send the calls.  [default: the endpoint of these settings]")
@click.option("--events", type=click.IntRange(1), default=1000, show_default=True, help="How many calls to send.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Calls per second.  [default: no limit]")
@click.option(
    "--types",
    shell_complete=types_of(_types),
    help="Comma-separated event types.  [default: all, as in a real mailing]",
)
@click.option("--connections", type=click.IntRange(1, 1000), default=16, show_default=True)
@click.option("--seed", type=int, help="The same seed sends the same calls, byte for byte.")
@click.option(
    "--key", type=click.Path(path_type=Path), help="The signer's file.  [default: the one `ingest dev` made]"
)
@click.option("--unsigned", is_flag=True, help="Send without signatures.")
@click.option(
    "--forge",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Share of forged calls, all of which must be refused.",
)
@click.option("--keep-going", is_flag=True, help="Keep to --rate even if nothing answers, as Copernica does.")
@click.option(
    "--with-logfiles",
    "logs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder in which to write the log files that Copernica would keep of these events.",
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

    from ingest.cli.render import simulation as render
    from ingest.simulation.calls import Simulator, chosen_types
    from ingest.simulation.logwriter import LogFolder
    from ingest.simulation.sender import Sender
    from ingest.simulation.target import Target

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
        try:
            with render.sending(sender, events, quiet=as_json):
                uvloop.run(sender.run(connections))
            code = 0 if sender.report.complete else 1
        except KeyboardInterrupt:
            click.echo("Interrupted. This is what was sent by then:", err=True)
            code = INTERRUPTED
    render.report(sender.report, as_json)
    sys.exit(code)


def _signer(settings: "Settings", key: Path | None) -> "Signer | None":
    from ingest.settings import SIGNER_FILE
    from ingest.simulation.signer import Signer

    made_by_dev = settings.data_dir / SIGNER_FILE
    if key is None and not made_by_dev.exists():
        return None
    return Signer.load(key or made_by_dev)


@click.command("fake-api")
@click.option(
    "--logfiles",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of log files named PREFIX.YYYY-MM-DD.log: CSV with a header row.",
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="0 picks a free port."
)
@click.option("--token", help="The API token to accept.  [default: a random one]")
@click.option(
    "--token-life", type=click.FloatRange(1), help="Seconds for which access is valid.  [default: a day]"
)
@click.option("--fail", "plan", default="", help="Which requests fail, and how: 429*2,cut@download,500.")
@click.option("--fail-rate", type=click.FloatRange(0, 1), default=0.0, help="Share of requests that fail.")
@click.option("--seed", type=int, help="The same seed fails in the same order.")
def fake_api(
    folder: Path,
    host: str,
    port: int,
    token: str | None,
    token_life: float | None,
    plan: str,
    fail_rate: float,
    seed: int | None,
) -> None:
    """Serve a fake of Copernica's REST API for your own tests, until Ctrl-C."""
    import asyncio
    import secrets

    from ingest.simulation.api_faults import Faults
    from ingest.simulation.fake_api import ACCESS_LIFE, create_fake_api, serve

    token = token or secrets.token_hex(16)
    app = create_fake_api(folder, token, Faults(plan, fail_rate, seed), life=token_life or ACCESS_LIFE)

    def ready(url: str) -> None:
        click.echo(f"export COPERNICA_API_URL={url}/v4")
        click.echo(f"export COPERNICA_AUTH_URL={url}")
        click.echo(f"export COPERNICA_TOKEN={token}")

    try:
        asyncio.run(serve(app, host, port, ready))
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)


COMMANDS = (simulate, fake_api)
