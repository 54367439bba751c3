"""What takes long is done beside the pages: watched, stopped, written down."""

import asyncio
import threading
from collections.abc import Callable, Mapping

import pytest
from aiohttp.test_utils import TestClient

from ingest.console import live, tasks
from ingest.console.pages import tasks as pages_of_tasks
from ingest.console.tasks import Report, find, start
from ingest.errors import Unavailable
from tests.support.console import console, csrf_of
from workers.operations import audit
from workers.store.store import Store


@pytest.fixture
def environ(database: str) -> dict[str, str]:
    return {"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0"}


async def ended(client: TestClient, number: str) -> tasks.Task:  # type: ignore[type-arg]
    task = find(client.app, number)
    assert task is not None
    async with asyncio.timeout(10):
        while task.ended_at is None:
            await asyncio.sleep(0.005)
    return task


def until_stopped(report: Report, stopped: Callable[[], bool]) -> Mapping[str, int]:
    done = 0
    while not stopped():
        done += 1
        report(done, 1_000_000, f"part {done} <b>\u202e")
        threading.Event().wait(0.005)
    return {"done": done}


async def test_a_task_is_watched_stopped_and_in_the_audit(
    environ: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PAUSE", 0.01)
    monkeypatch.setattr(pages_of_tasks, "LOOK_EVERY", 0.01)
    async with console(environ) as client:
        number = start(client.app, "count", "jan", until_stopped, title="Tasks", what={"of": "all"}, back="/x")
        text = await (await client.get(f"/task/{number}")).text()
        assert 'sse-connect="/live/task/' in text
        assert "<b>" not in text
        while not (entries := audit.entries(store, 10)):
            await asyncio.sleep(0.005)
        (entry,) = entries
        assert (entry.who, entry.action, entry.ended_at, entry.what) == ("jan", "count", None, {"of": "all"})
        stream = await client.get(f"/live/task/{number}")
        assert b"event: progress" in await stream.content.readline()
        answer = await client.post(f"/task/{number}/stop", data={"_csrf": csrf_of(text)})
        assert (answer.status, (await ended(client, number)).state) == (200, "stopped")
        assert "event: ended" in await stream.text()
        text = await (await client.get(f"/task/{number}")).text()
        assert "sse-connect" not in text
        assert "Stopped" in text
        assert "Stopped" in await (await client.get("/tasks")).text()
    (stop, entry) = audit.entries(store, 10)
    assert (stop.action, stop.who, entry.affected) == ("stop", "local", find(client.app, number).done)  # type: ignore[union-attr]


async def test_there_is_one_of_a_kind_and_a_few_in_all(
    environ: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with console(environ) as client:
        first = start(client.app, "count", "jan", until_stopped)
        with pytest.raises(tasks.Busy) as busy:
            start(client.app, "count", "piet", until_stopped)
        assert busy.value.running == first
        monkeypatch.setattr(tasks, "MOST_TASKS", 1)
        with pytest.raises(tasks.Busy) as busy:
            start(client.app, "other", "piet", until_stopped)
        assert busy.value.running is None
    assert find(client.app, first).state == "stopped", "ended with the console"  # type: ignore[union-attr]


@pytest.mark.parametrize("error", [Unavailable("The disk is full of <i>x</i>."), ZeroDivisionError("secret")])
async def test_one_that_fails_says_why_without_a_traceback(
    environ: dict[str, str], store: Store, error: Exception
) -> None:
    def fail(_report: Report, _stopped: Callable[[], bool]) -> Mapping[str, int]:
        raise error

    async with console(environ) as client:
        task = await ended(client, start(client.app, "fail", "jan", fail))
        text = await (await client.get(f"/task/{task.id}")).text()
        assert task.state == "failed"
        assert "secret" not in text
        assert ("The disk is full of &lt;i&gt;" in text) is isinstance(error, Unavailable)
        assert (await client.get("/task/0123")).status == 404
    (entry,) = audit.entries(store, 10)
    assert entry.error == (str(error) if isinstance(error, Unavailable) else "ZeroDivisionError")


async def test_those_that_have_ended_are_forgotten_in_the_end(
    environ: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "KEPT", 3)
    async with console(environ) as client:
        numbers = []
        for _ in range(5):
            numbers.append(start(client.app, "k", "jan", lambda _report, _stopped: {}))
            await ended(client, numbers[-1])
        assert [task.id for task in tasks.recent(client.app)] == numbers[:1:-1]
