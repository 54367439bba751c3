"""Ctrl-C or a signal in the middle of a command: it says what was done so far, and ends with 128 and more."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ingest.cli.interruption import ENDS, ended_as_interrupted, in_uvloop, interrupted_code
from ingest.processes import PARENT
from ingest.simulation.sender import Sender
from tests.support.builders import event, record
from tests.support.cli import typed
from tests.support.sql import give
from workers.handlers import dead_letters, dropping
from workers.handlers.work_queue import WorkQueue
from workers.operations import backup
from workers.reconcile import run as reconciling
from workers.records import Quarantined
from workers.store import filling
from workers.store.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def database(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def environ(redis_url: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("from workers import on\n@on('open')\ndef h(event): ...\n")
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": sqlite_url,
        "INGEST_VERIFY": "off",
        "INGEST_DATA_DIR": str(tmp_path),
        "INGEST_HANDLERS": "mine",
    }


def at_the(time: int, of: Any, name: str) -> Any:
    """Ctrl-C at the so-and-so-manieth call of something."""
    real: Callable[..., Any] = getattr(of, name)
    calls = 0

    def interrupted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == time:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    return patch.object(of, name, interrupted)


def one_day(*_: Any, **__: Any) -> Iterator[Any]:
    raise KeyboardInterrupt
    yield  # type: ignore[unreachable]  # what makes it a generator


@pytest.mark.parametrize(
    ("time", "of", "name", "command", "said"),
    [
        (1, Store, "mentioning", "erase --recipient jan@example.nl --dry-run", "Nothing was erased."),
        (
            1,
            Store,
            "mentioning",
            "erase --recipient jan@example.nl --yes",
            "what was there is: type the same again.",
        ),
        (1, Store, "scrub", "erase --recipient jan@example.nl --yes", "The rows are deleted, but their bytes"),
        (2, WorkQueue, "give", "replay --handler h --rate 2", "2 events handed to h so far; the same command"),
        (1, dead_letters, "drop", "failed drop --yes", "0 calls are done; the same command does the rest."),
        (5, dropping, "select", "handlers drop gone --yes", "1 call is dropped; the same command drops the rest."),
        (1, Store, "find", "events", ""),
        (1, Store, "counts", "stats", ""),
        (1, reconciling, "days_of", "reconcile 2026-11-20", ""),
        (1, filling, "fill", "db upgrade", "the same command, or the daily job, counts the rest."),
    ],
)
def test_a_command_says_what_was_done_by_then(
    environ: dict[str, str], store: Store, time: int, of: Any, name: str, command: str, said: str
) -> None:
    store.add([event(n) for n in range(4)])
    store.add((), [Quarantined(record(1), "unreadable")])
    give(store, "gone", [record(1)])
    counted = (
        patch.object(Store, "is_counted", new=False)
        if name == "fill"
        else patch.object(Store, "never", None, create=True)
    )
    with at_the(time, of, name), counted:
        done = typed(*command.split(), environ=environ)
    assert done.exit_code == 130
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Interrupted.")
    assert said in last


def test_an_interrupted_reconciliation_says_how_many_days_are_done(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "reconcile", one_day)
    monkeypatch.setattr(reconciling, "reconcile_files", one_day)
    (tmp_path / "cdm-click.2026-11-20.log").write_text("id,time\n")
    for command in (["reconcile", "2026-11-20"], ["import", "cdm-click.2026-11-20.log"]):
        done = typed(*command, environ=environ)
        assert (done.exit_code, done.stderr.splitlines()[-1][:28]) == (130, "Interrupted. 0 days are done")


def test_an_interrupted_simulation_reports_what_it_sent(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stopped(sender: Sender, _connections: int) -> None:
        sender.report.sent = 7
        raise KeyboardInterrupt

    monkeypatch.setattr(Sender, "run", stopped)
    done = typed("simulate", "--unsigned", environ=environ)
    assert (done.exit_code, done.stdout.split()[:2]) == (130, ["sent", "7"])
    assert "Interrupted. This is what was sent by then:" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_an_interrupted_drain_says_what_it_stored(
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: int,
    request: pytest.FixtureRequest,
) -> None:
    from workers.drain import once
    from workers.runtime import stop_flag

    request.addfinalizer(stop_flag.clear)
    real = once.drain_once

    def interrupted(*arguments: Any) -> Any:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # as one: it would end this process
        return real(*arguments)

    monkeypatch.setattr(once, "drain_once", interrupted)
    done = typed("drain", environ=environ)
    assert (done.exit_code, done.stdout.startswith("0 events stored, ")) == (code, True)
    assert "Interrupted; what is left waits in Redis." in done.stderr


@pytest.fixture
def own_signals() -> Iterator[None]:
    """A command that was interrupted leaves its handlers to the end of its process, which goes on here."""
    before = {number: signal.getsignal(number) for number in ENDS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.usefixtures("own_signals")
def test_a_signal_ends_what_uvloop_runs_also_within_a_callback(number: signal.Signals) -> None:
    async def lasting() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await asyncio.sleep(60)

    with ended_as_interrupted(), pytest.raises(KeyboardInterrupt):
        in_uvloop(lasting())
    assert interrupted_code() == 128 + number


def test_an_interruption_that_is_lost_in_a_callback_comes_again() -> None:
    """Where Python calls back and lets nothing be raised, as within an import: the command would just go on."""

    class Watched: ...

    def interrupt(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def goes_on() -> None:
        watched.clear()
        time.sleep(20)

    watched = [Watched()]
    reference = weakref.ref(watched[0], interrupt)
    with ended_as_interrupted(), pytest.raises(KeyboardInterrupt):
        goes_on()
    assert reference() is None
    assert interrupted_code() == 128 + signal.SIGTERM


def _deaf() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGALRM})


@pytest.mark.parametrize(
    ("parent", "left"),
    [({}, "SIG_DFL []"), ({PARENT: "1"}, f"SIG_DFL {sorted([signal.SIGTERM, signal.SIGALRM])}")],
)
def test_what_its_starter_did_not_hear_it_hears(parent: dict[str, str], left: str) -> None:
    """Some daemons ignore the end of their children and block signals, and what they start has that from them."""
    code = (
        "import signal; from ingest.cli.interruption import hear_signals; hear_signals()\n"
        "blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
        "print(signal.getsignal(signal.SIGCHLD).name, blocked)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | parent, preexec_fn=_deaf, capture_output=True, text=True, check=True,
    )  # fmt: skip  # read across
    assert done.stdout.strip() == left


def test_who_follows_ends_that_by_ctrl_c(environ: dict[str, str]) -> None:
    from workers.operations import follow

    with at_the(1, follow, "followed"):
        assert typed("events", "--follow", environ=environ).exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("own_signals")
def test_a_signal_ends_a_backup_as_ctrl_c_does_and_leaves_nothing_of_it(
    environ: dict[str, str], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def signalled_twice(_part: Path) -> int:  # as `timeout` does: the process, then its group
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        raise KeyboardInterrupt

    monkeypatch.setattr(backup, "verify", signalled_twice)
    store.add([event(1)])
    done = typed("db", "backup", "copy.db", environ=environ)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (128 + number, "Interrupted. There is no backup.")
    assert list(tmp_path.glob("copy.db*")) == []
