"""`ingest events --follow`, as a process, with drains beside it."""

import io
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from ingest.redis_client import connect
from ingest.settings import Settings
from ingest.stream.announcements import Announcements
from ingest.stream.keys import Keys
from tests.support.builders import record
from tests.support.cli import BUFFERED
from tests.support.running import Process, clean_environ, ingest, running, until
from tests.support.stream import keep
from workers.drain.drain import Drain
from workers.operations import follow
from workers.operations.follow import followed
from workers.store.filters import Filter
from workers.store.store import Store

#: Seconds within which a new event is shown, on a machine that is busy.
SOON = 20.0


def body(number: int, kind: str = "open", recipient: str = "jan@example.nl") -> bytes:
    return f"type={kind}&id={number}&recipient={recipient}&time={1_795_165_200 + number}".encode()


def drained(client: redis.Redis, store: Store, *bodies: bytes) -> None:
    """Have these stored as events, each with the number in it for its delivery id."""
    numbers = [int(each.split(b"&")[1].partition(b"=")[2]) for each in bodies]
    keep(client, [record(number, body=each) for number, each in zip(numbers, bodies, strict=True)])
    Drain(client, store).run()


@pytest.fixture
def environ(redis_url: str, database: str) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "DATABASE_URL": database, **BUFFERED}


def followers(client: redis.Redis) -> int:
    ((_, number),) = client.pubsub_numsub(Keys().stored)
    return int(number)


@contextmanager
def following(environ: dict[str, str], log: Path, *arguments: str) -> Iterator[Process]:
    command = ingest("events", "--follow", "--format", "jsonl", *arguments)
    with running(command, environ, log) as process:
        yield process


def shown(process: Process) -> list[int]:
    """The numbers of the events it has shown."""
    return [
        int(json.loads(line)["message_id"]) for line in process.output.splitlines(keepends=True) if "\n" in line
    ]


def test_new_events_are_shown_as_they_are_stored(
    environ: dict[str, str], client: redis.Redis, store: Store, tmp_path: Path
) -> None:
    drained(client, store, body(1), body(2, "click"))
    clicks_of_eva = ("--type", "click", "--recipient", "EVA@example.nl")
    with (
        following(environ, tmp_path / "all") as everything,
        following(environ, tmp_path / "clicks", *clicks_of_eva) as clicks,
        following(environ, tmp_path / "since", "--since", "2026-11-20T09:00:02") as since,
    ):
        until(lambda: followers(client) == 3, "three followers", 10)
        drained(client, store, body(3), body(4, "click"), body(5, "click", "eva@example.nl"), body(6, "bounce"))
        drained(client, store, body(0, "delivery"))  # a late one, of before `--since`
        until(lambda: shown(everything) == [3, 4, 5, 6, 0], "all events", SOON)
        until(lambda: shown(clicks) == [5], "the clicks", SOON)
        until(lambda: shown(since) == [2, 3, 4, 5, 6], "the events since then", SOON)

        if "postgresql" in environ["DATABASE_URL"]:
            time.sleep(1.2 * follow.WAIT)  # a while without any
        drained(client, store, body(3), body(4, "click"), body(7, "click", "Eva@Example.nl"))  # two came again
        until(lambda: shown(everything)[5:] and shown(clicks)[1:] and shown(since)[5:], "what came later", SOON)
        for process, numbers in ((everything, [3, 4, 5, 6, 0, 7]), (clicks, [5, 7]), (since, [2, 3, 4, 5, 6, 7])):
            process.send(signal.SIGINT)
            assert process.wait() == 0
            assert shown(process) == numbers  # nothing twice, and nothing but events in its output
    until(lambda: followers(client) == 0, "nobody that listens", 5)


@pytest.mark.parametrize("form", ["table", "csv"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # nothing in it is about the database
def test_a_line_is_shown_at_once_in_every_form(
    environ: dict[str, str], client: redis.Redis, store: Store, tmp_path: Path, form: str
) -> None:
    with running(ingest("events", "--follow", "--format", form), environ, tmp_path / "out") as process:
        until(lambda: followers(client), "the follower", 10)
        until(lambda: "message_id" in process.output, "the header", SOON)
        drained(client, store, body(1))
        until(lambda: "jan@example.nl" in process.output, "the event", SOON)
        process.send(signal.SIGINT)
        assert process.wait() == 0
    assert "Traceback" not in process.output
    assert process.output.count("\n") == 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_reader_that_leaves_ends_it(environ: dict[str, str], client: redis.Redis, store: Store) -> None:
    with subprocess.Popen(
        ingest("events", "--follow", "--format", "jsonl"),
        env=clean_environ() | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert isinstance(process.stdout, io.BufferedReader)
        assert process.stderr
        until(lambda: followers(client), "the follower", 10)
        drained(client, store, body(1))
        assert json.loads(process.stdout.readline())["message_id"] == "1"
        process.stdout.close()
        drained(client, store, body(2))
        assert process.wait() == 0
        assert process.stderr.read() == b""


class Told(Announcements):
    """What `followed` hears, as a test wants it."""

    ids: list[list[bytes]]

    def listen(self, wait: float) -> Iterator[list[bytes]]:
        yield from ([], *self.ids)


def heard(
    environ: dict[str, str], store: Store, wanted: Filter, monkeypatch: pytest.MonkeyPatch, *numbers: list[int]
) -> list[int]:
    """What is shown of these announcements."""
    ids = [[number.to_bytes(12, "big") for number in each] for each in numbers]
    monkeypatch.setattr(Told, "ids", ids, raising=False)
    monkeypatch.setattr(follow, "Announcements", Told)
    return [int(event.message_id or 0) for event in followed(Settings.read(environ), store, wanted)]


def test_what_is_announced_while_earlier_events_are_shown_is_not_shown_twice(
    environ: dict[str, str], client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained(client, store, *(body(number) for number in range(1, 41)))

    def heard_by(**changes: Any) -> list[int]:
        wanted = replace(Filter(), **changes)
        return heard(environ, store, wanted, monkeypatch, [7, 8], [8, 41, 9], [99], list(range(1, 31)))

    assert heard_by(message_id="7") == [7]
    assert heard_by() == [7, 8, 9, *range(1, 7), *range(10, 31)]
    monkeypatch.setattr(follow, "FETCH_SIZE", 4)
    assert heard_by(types=("open",)) == [7, 8, 9, *range(1, 7), *range(10, 31)]


def test_of_a_very_long_stream_only_the_latest_are_remembered(
    environ: dict[str, str], client: redis.Redis, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained(client, store, *(body(number) for number in range(1, 11)))
    monkeypatch.setattr(follow, "REMEMBERED", 5)
    once = list(range(1, 11))
    assert heard(environ, store, Filter(), monkeypatch, once, once[5:], once[8:]) == once


def test_announcements_cost_nothing_without_listeners(client: redis.Redis) -> None:
    announcements = Announcements(client)
    announcements.publish([bytes(12)])
    with connect("unix://" + client.connection_pool.connection_kwargs["path"]) as other:
        heard = Announcements(other).listen(0.2)
        assert next(heard) == []
        announcements.publish([bytes(12), bytes([1]) * 12])
        assert next(heard) == [bytes(12), bytes([1]) * 12]
        assert next(heard) == []
        heard.close()  # type: ignore[attr-defined]
