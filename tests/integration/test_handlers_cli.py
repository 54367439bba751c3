"""`ingest handlers`, and `ingest failed waiting`: what is registered, what waits, and what is gone."""

import json
from pathlib import Path

import pytest
import redis

from ingest.stream.keys import Keys
from ingest.stream.pauses import Pauses
from tests.support.builders import record
from tests.support.cli import status_figures, typed
from tests.support.plugged import Plug
from tests.support.sql import add, execute, give, rows
from workers.handlers import listing
from workers.handlers.dropping import Belongings, belongings
from workers.handlers.standing import standing
from workers.handlers.work_queue import WorkQueue
from workers.store.store import Store

pytestmark = pytest.mark.slow

SOURCE = """
print("a greeting")
import os; os.write(1, b"another")
@on("open", "click", batch=50, retries=2, rate="60/m", where=lambda event: True)
def noticed(events): raise ValueError("no such customer: jan@example.nl \\x1b[31m")
@on(timeout=0.5, concurrency=3, retries=0)
async def everything(event): ...
"""


@pytest.fixture
def environ(redis_url: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    for name, source in {
        "mine": f"from workers import on\n{SOURCE}",
        "broken": "1 / 0",
        "ending": "raise SystemExit(3)",
        "killed": "import ctypes; ctypes.CDLL(None)._exit(0)",
        "slow": "import time, subprocess; subprocess.Popen(['sleep', '60']); time.sleep(60)",
    }.items():
        (tmp_path / f"{name}.py").write_text(source)
    return {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_HANDLERS": "mine", "COLUMNS": "80"}


@pytest.fixture
def database(sqlite_url: str) -> str:
    return sqlite_url


def test_handlers_are_listed_with_options_and_what_waits(
    environ: dict[str, str], store: Store, client: redis.Redis
) -> None:
    give(store, "noticed", [record(1), record(2)])
    give(store, "gone", [record(3)])
    Pauses(client).add(["handler:everything"])
    done = typed("handlers", environ=environ)
    assert (done.exit_code, done.stderr) == (0, "")
    assert (
        done.stdout
        == """\
noticed
  mine.noticed: click, open, those that its `where` lets through
  batches of 50, 30 s per call, 2 retries (after 5, 30 s), at most 1 calls/s
  queue handlers: 2 calls wait, 0 dead letters
everything
  mine.everything: all types
  0.5 s per call, no retries, 3 at once, async
  queue handlers: 0 calls wait, 0 dead letters; paused until it is resumed
! There is no handler gone any more, but 1 call waits, 0 dead letters: `ingest
  handlers drop gone` drops that.
"""
    )
    found = json.loads(typed("handlers", "--json", environ=environ).stdout)
    assert [(one["name"], one["waiting"], one["rate"]) for one in found["handlers"]] == [
        ("noticed", 2, 1.0),
        ("everything", 0, None),
    ]
    assert found["gone"] == [{"name": "gone", "waiting": 1, "failed": 0}]
    assert found["paused"] == [{"name": "handler:everything", "until": None}]


@pytest.mark.parametrize(
    ("modules", "names", "said"),
    [
        ("broken,mine", ["noticed", "everything"], "broken.py, line 1: ZeroDivisionError"),
        ("mine,ending", ["noticed", "everything"], "SystemExit: 3"),
        ("mine,killed", [], "ends the process that does it"),
        ("mine,slow", [], "takes more than 0.3 s"),
    ],
)
def test_a_module_that_misbehaves_is_named_and_harms_nobody(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, modules: str, names: list[str], said: str
) -> None:
    if "slow" in modules:
        monkeypatch.setattr(listing.registered, "__defaults__", (0.3,))
    done = typed("handlers", "--json", environ=environ | {"INGEST_HANDLERS": modules})
    found = json.loads(done.stdout)
    assert (done.exit_code, [one["name"] for one in found["handlers"]]) == (1, names)
    assert said in found["problems"][0]
    assert found["gone"] == []  # since nobody knows


def test_what_is_kept_of_a_handler_that_is_gone_is_counted_and_dropped(
    environ: dict[str, str], store: Store, client: redis.Redis
) -> None:
    give(store, "gone", [record(n) for n in range(700)])
    give(store, "other", [record(1)])
    client.hset(Keys().turns, "gone", 1)
    assert belongings(store, "gone") == Belongings(700, 0, 0)
    for words, answer, code in (
        (["gone"], "", 2),
        (["gone"], "n\n", 1),
        (["noticed"], "y\n", 1),
        (["gnoe"], "y\n", 1),
    ):
        assert typed("handlers", "drop", *words, environ=environ, answer=answer).exit_code == code
    assert "Did you mean gone?" in typed("handlers", "drop", "gnoe", "--yes", environ=environ).stderr
    done = typed("handlers", "drop", "gone", environ=environ, answer="y\n")
    assert "Drop 700 calls that wait for gone, and 0 dead letters of it?" in done.stderr
    assert (done.exit_code, done.stdout) == (0, "Dropped 700 waiting calls and 0 dead letters of gone.\n")
    assert WorkQueue(store).waiting() == {"other": 1}
    assert not client.exists(Keys().turns)
    broken = typed("handlers", "drop", "other", "--yes", environ=environ | {"INGEST_HANDLERS": "broken"})
    assert (broken.exit_code, "ZeroDivisionError" in broken.stderr) == (2, True)  # it may be in there


def test_what_failed_and_is_tried_again_is_listed(
    plug: Plug, environ: dict[str, str], store: Store, client: redis.Redis
) -> None:
    world = plug("@on('open')\ndef h(event): raise ValueError(f'no: {event.recipient} \x1b[31m')\n")
    nothing = typed("failed", "waiting", environ=environ)
    assert (nothing.exit_code, nothing.stdout) == (0, "Nothing that failed waits to be tried again.\n")
    add(store, record(1), record(2, body=b"type=open&recipient=jan%40example.nl"))
    world.work()
    (row,) = [
        json.loads(line) for line in typed("failed", "waiting", "--json", environ=environ).stdout.splitlines()
    ]
    assert (row["handler"], row["attempts"], row["calls"]) == ("h", 1, 2)
    assert row["error"] == "ValueError: no: jan@example.nl \x1b[31m"
    shown = typed("failed", "waiting", environ=environ).stdout.splitlines()
    assert shown[0].split() == ["next", "UTC", "handler", "calls", "tried", "last", "error"]
    assert shown[1].split()[1:4] == ["h", "2", "1"]
    assert shown[1].endswith("ValueError: no: jan@example.n…")
    assert max(map(len, shown)) <= 80
    assert "\\x1b[31m" in typed("failed", "waiting", environ=environ | {"COLUMNS": "120"}).stdout
    Pauses(client).add(["handler:h"])
    _, status = status_figures(environ)
    assert status["handlers"]["h"]["last_error"] == row["error"]
    assert status["handlers"]["h"]["retries"] == 2
    assert status["paused"] == [{"name": "handler:h", "ends_at": None}]
    typed("erase", "--recipient", "jan@example.nl", "--yes", environ=environ)
    assert rows(store, "SELECT count, error FROM handoffs") == [(1, None)]
    assert "not known" in typed("failed", "waiting", environ=environ).stdout


def test_what_nobody_takes_though_it_is_due_is_called_overdue(
    plug: Plug, environ: dict[str, str], store: Store
) -> None:
    world = plug("@on('open')\ndef h(event): raise ValueError('no')\n")
    add(store, record(1))
    world.work()
    execute(store, "UPDATE handoffs SET due_at = due_at - 3600000000, leased_until = 0")
    (row,) = map(json.loads, typed("failed", "waiting", "--json", environ=environ).stdout.splitlines())
    assert row["overdue"] is True
    shown = typed("failed", "waiting", environ=environ).stdout.splitlines()
    assert shown[1].split()[:4] == ["overdue", "h", "1", "1"]
    assert "drop NAME" in shown[-1]
    assert [one.overdue for one in standing(store, "h").retries] == [True]


def test_parts_of_a_batch_that_wait_are_listed_too(plug: Plug, store: Store) -> None:
    world = plug("@on('open', batch=9)\ndef h(events): raise TryLater('busy')\n")
    add(store, *map(record, range(4)))
    world.work()
    assert [(one.calls, one.attempts, one.error) for one in world.handoffs.retries()] == [(4, 1, "TryLater: busy")]
