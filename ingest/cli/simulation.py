"""The commands that stand in for Copernica: `simulate` sends its calls, `fake-api` answers as its REST API."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.amount import Finite, Whole
from ingest.cli.choices import Listed, OneOf
from ingest.cli.completion import types_of
from ingest.cli.interruption import in_uvloop, interrupted_code
from ingest.cli.options import json_document, settings_with
from ingest.cli.times import Zone
from ingest.errors import SettingsError
from ingest.listening import url_from_here

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from ingest.settings import Settings
    from ingest.simulation.fake_api import FakeCopernica
    from ingest.simulation.records import Record
    from ingest.simulation.signer import Signer


def _types() -> Iterable[str]:
    from ingest.simulation.calls import TYPES

    return TYPES


@click.command()
@click.option("--url", help="Where to send the calls.  [default: the endpoint of these settings]")
@click.option("--events", type=Whole(1), default=1000, show_default=True, help="How many calls to send.")
@click.option("--rate", type=Finite(0, min_open=True), help="Calls per second.  [default: no limit]")
@click.option(
    "--types",
    shell_complete=types_of(_types),
    help="Comma-separated event types.  [default: all, as in a real mailing]",
)
@click.option(
    "--products",
    type=Listed(OneOf(("ms", "publisher")), "products"),
    default="ms",
    show_default=True,
    help="Comma-separated products that mail comes from: ms,publisher.",
)
@click.option(
    "--connections", type=click.IntRange(1, 1000), default=16, show_default=True, help="How many send at once."
)
@click.option("--seed", type=int, help="The same seed sends the same calls, byte for byte.")
@click.option(
    "--key", type=click.Path(path_type=Path), help="The signer's file.  [default: the one `ingest dev` made]"
)
@click.option("--unsigned", is_flag=True, help="Send without signatures.")
@click.option(
    "--forge",
    type=Finite(0, 1),
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
@click.option("--smtpeter", is_flag=True, help="Write them as SMTPeter does.")
@click.option("--logfiles-zone", type=Zone(), default="UTC", show_default=True, help="Time zone of their clock.")
@click.option(
    "--logfiles-offset", type=Whole(), default=0, show_default=True, help="Seconds that it is ahead of ours."
)
@click.option(
    "--with-results",
    "truth",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder in which to keep these events, for `ingest fake-api --results`.",
)
@json_document()
def simulate(
    url: str | None,
    events: int,
    rate: float | None,
    types: str | None,
    products: tuple[str, ...],
    connections: int,
    seed: int | None,
    key: Path | None,
    unsigned: bool,
    forge: float,
    keep_going: bool,
    as_json: bool,
    **kept: Any,
) -> None:
    """Send realistic calls, as Copernica does after a mailing.

    The exit code is 1 if a genuine call was not answered 200, or a forged one was.
    """
    from ingest.cli.render import simulation as render
    from ingest.simulation.calls import PRODUCTS, Simulator, chosen_types
    from ingest.simulation.sender import Sender
    from ingest.simulation.target import Target

    if keep_going and rate is None:
        raise SettingsError("--keep-going needs a pace to keep: add --rate.")
    settings = settings_with()
    signer = None if unsigned else _signer(settings, key)
    if forge and signer is None:
        raise SettingsError("--forge needs a signer to imitate: start `ingest dev`, or name one with --key.")
    url = url or f"{url_from_here(settings.host, settings.port)}{settings.path or '/'}"
    target = Target(url, signer, forge)
    calls = Simulator(seed, chosen_types(types), products=products or PRODUCTS[:1])
    with _records(**kept) as records:
        sender = Sender(target, iter(calls), events, rate, keep_going, records)
        try:
            with render.sending(sender, events, quiet=as_json):
                in_uvloop(sender.run(connections))
            code = 0 if sender.report.complete else 1
        except KeyboardInterrupt:
            click.echo("Interrupted. This is what was sent by then:", err=True)
            code = interrupted_code()
    render.report(sender.report, as_json)
    sys.exit(code)


@contextmanager
def _records(
    logs: Path | None, smtpeter: bool, logfiles_zone: "ZoneInfo", logfiles_offset: int, truth: Path | None
) -> Iterator["Record | None"]:
    """Where events are recorded while the block runs."""
    from ingest.simulation.logwriter import SMTPETER, Clock, LogFolder
    from ingest.simulation.records import Record, Records
    from ingest.simulation.truth import Truth

    clock = Clock(logfiles_zone, logfiles_offset)
    with ExitStack() as stack:
        records: list[Record] = []
        if logs:
            records.append(stack.enter_context(LogFolder(logs, clock, SMTPETER if smtpeter else None)))
        if truth:
            records.append(stack.enter_context(Truth(truth)))
        yield Records(*records) if records else None


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
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of log files named PREFIX.YYYY-MM-DD.log: CSV with a header row.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that `ingest simulate --with-results` writes, or will write.",
)
@click.option(
    "--results-zone", type=Zone(), default="UTC", show_default=True, help="Time zone in which results are told."
)
@click.option(
    "--results-offset",
    type=Whole(),
    default=0,
    show_default=True,
    help="Seconds that their clock is ahead of ours.",
)
@click.option(
    "--results-late",
    type=Finite(0),
    default=0.0,
    show_default=True,
    help="Seconds after which an event has a result.",
)
@click.option("--smtpeter", is_flag=True, help="Say how to use it as SMTPeter, too.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8081, show_default=True, help="0 picks a free port."
)
@click.option("--token", help="The API token to accept.  [default: a random one]")
@click.option("--token-life", type=Finite(1), help="Seconds for which access is valid.  [default: a day]")
@click.option("--fail", "plan", default="", help="Which requests fail, and how: 429*2,cut@download,500.")
@click.option("--fail-rate", type=Finite(0, 1), default=0.0, help="Share of requests that fail.")
@click.option("--seed", type=int, help="The same seed fails in the same order.")
def fake_api(smtpeter: bool, host: str, port: int, **served: Any) -> None:
    """Serve a fake of Copernica's REST API for your own tests, until Ctrl-C."""
    import asyncio

    from ingest.simulation.fake_api import serve
    from ingest.simulation.smtpeter import ROOT

    fake = _fake(**served)

    def ready(url: str) -> None:
        click.echo(f"export COPERNICA_API_URL={url}/v4")
        click.echo(f"export COPERNICA_AUTH_URL={url}")
        click.echo(f"export COPERNICA_TOKEN={fake.token}")
        if smtpeter:
            click.echo(f"export INGEST_SMTPETER_URL={url}{ROOT}")
            click.echo(f"export INGEST_SMTPETER_TOKEN={fake.token}")

    try:
        asyncio.run(serve(fake.app(), host, port, ready))
    except KeyboardInterrupt:
        counts = ", ".join(f"{kind} {number}" for kind, number in fake.calls.items())
        click.echo(f"Stopped. Requests by what they were about: {counts or 'none'}.", err=True)


def _fake(
    folder: Path | None,
    results: Path | None,
    results_zone: "ZoneInfo",
    results_offset: int,
    results_late: float,
    token: str | None,
    token_life: float | None,
    plan: str,
    fail_rate: float,
    seed: int | None,
) -> "FakeCopernica":
    import secrets

    from ingest.simulation.api_faults import Faults
    from ingest.simulation.fake_api import ACCESS_LIFE, FakeCopernica
    from ingest.simulation.results_clock import Manner
    from ingest.simulation.truth import Truth

    if folder is None and results is None:
        raise SettingsError("There is nothing to serve: name a folder with --logfiles or --results.")
    manner = Manner(results_zone, results_offset, late=results_late)
    faults, life = Faults(plan, fail_rate, seed), token_life or ACCESS_LIFE
    token = token or secrets.token_hex(16)
    return FakeCopernica(folder, token, faults, life, truth=Truth(results), results=manner)


COMMANDS = (simulate, fake_api)
