"""What endpoints say of their coverage: in Redis, and in notes beside the spool that outlive them."""

import asyncio
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from ingest.endpoint import covering, maintenance
from ingest.endpoint.covering import Covering
from ingest.endpoint.intake import Intake
from ingest.jobs import JobScheduler
from ingest.redis_client import connect_async
from ingest.redis_errors import Outage
from ingest.settings import Settings
from ingest.spool import Spool
from ingest.spool.locks import unique_name
from ingest.spool.notes import NOTE, Notes
from ingest.stream.appends import Stream
from ingest.stream.coverage import COVERED, STOPPED, Coverage, Statement
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.keys import Keys
from ingest.stream.producer import Producer
from ingest.stream.reports import EndpointReport


def statement(number: int) -> Statement:
    return Statement(f"web:{number}", COVERED, number, number + 5, number, number + 5, "boot", at=9, up_at=9)


def test_a_statement_replaces_what_was_said_under_its_name(client: redis.Redis) -> None:
    coverage = Coverage(client)
    coverage.state([statement(1), statement(2)])
    coverage.state([statement(1)._replace(through=90)])
    assert {one.name: one.through for one in coverage.statements()} == {"web:1": 90, "web:2": 7}
    coverage.forget(["web:1"])
    assert coverage.statements() == [statement(2)]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b'{"name": "a"}', b'{"name": 1, "since": "x"}'])
def test_what_is_no_statement_is_passed_over(client: redis.Redis, text: bytes) -> None:
    client.hset(Keys().coverage, "web:9", text)
    assert Coverage(client).statements() == []


def test_a_later_release_may_say_more() -> None:
    text = statement(1).as_json()
    assert Statement.from_json(text[:-1] + b', "colour": "red"}') == statement(1)


def test_too_much_is_cut_at_the_oldest(client: redis.Redis) -> None:
    coverage = Coverage(client)
    coverage.state([statement(number) for number in range(50)])
    coverage.trim(most=50)
    assert len(coverage.statements()) == 50
    coverage.trim(most=40)
    assert sorted(one.since for one in coverage.statements()) == list(range(14, 50))


def test_a_note_is_found_once_its_process_is_gone(tmp_path: Path) -> None:
    mine, other = Notes(tmp_path), Notes(tmp_path)
    assert other.write(b"a longer word\nof two lines")
    assert other.write(b"short", sync=True)
    assert mine.write(b"mine")
    assert list(mine.found()) == []
    other.close()
    (note,) = mine.found()
    assert note.text == b"short"
    mine.remove(note.path)
    mine.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_somebody_deleted_is_written_anew(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    notes.write(b"one")
    (path,) = tmp_path.iterdir()
    path.unlink()
    assert notes.write(b"two")
    notes.close()
    assert [note.text for note in Notes(tmp_path).found()] == [b"two"]


def test_without_a_folder_that_can_be_written_nothing_is_noted(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "gone")
    assert not notes.write(b"one")
    assert list(notes.found()) == []
    notes.close(remove=True)


def test_empty_notes_go_after_a_while(tmp_path: Path) -> None:
    path = tmp_path / (unique_name() + NOTE)
    path.touch()
    assert list(Notes(tmp_path).found()) == []
    assert path.exists()
    os.utime(path, (0, 0))
    assert list(Notes(tmp_path).found()) == []
    assert not path.exists()


def test_of_very_many_notes_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.spool.notes.MOST_NOTES", 3)
    for number in range(5):
        path = tmp_path / f"{number}{NOTE}"
        path.write_bytes(b"%d" % number)
        os.utime(path, (number, number))
    assert [note.text for note in Notes(tmp_path).found()] == [b"2", b"3", b"4"]
    assert len(list(tmp_path.iterdir())) == 3


async def test_a_disk_that_hangs_holds_up_neither_the_event_loop_nor_its_end(
    client: redis.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(covering, "TICK", 0.01)
    monkeypatch.setattr(covering, "CLOSE_TIMEOUT", 0.1)
    asked, answers = threading.Event(), threading.Event()
    write = os.pwrite

    def hang(*arguments: Any) -> int:
        asked.set()
        answers.wait()
        return write(*arguments)

    async with connect_async(redis_url) as way, Spool(tmp_path, 10**6) as spool:
        intake = Intake(Producer([Stream(way)], lambda: None), 1000)
        monkeypatch.setattr(os, "pwrite", hang)
        async with Covering("web:1", intake, Coverage(client), spool) as told:
            running = asyncio.create_task(told.run())
            await asyncio.to_thread(asked.wait)
            (before,) = told.tell()
            async with asyncio.timeout(10):
                while told.tell()[0].through == before.through:
                    await asyncio.sleep(0.01)
            running.cancel()
            told.stop()
            told.end()
        answers.set()
    async with asyncio.timeout(10):
        while not (notes := list(Notes(tmp_path).found())):  # once the disk answers, what was to be said is there
            await asyncio.sleep(0.01)
    (said,) = [Statement.from_json(note.text) for note in notes]
    assert said is not None
    assert said.ended == STOPPED


async def test_a_round_that_goes_on_after_the_goodbye_reports_and_wakes_nobody(
    client: redis.Redis, redis_url: str
) -> None:
    async with connect_async(redis_url) as way:
        intake = Intake(Producer([Stream(way)], lambda: None), 1000)
        async with Covering("web:1", intake, Coverage(client), None) as told:
            heartbeats, scheduler = Heartbeats(client, "web:1"), JobScheduler(client)
            outage = Outage(logging.getLogger(), "it waits")
            rounds = maintenance._Rounds(
                Settings.read({}), heartbeats, scheduler, told, outage, None, None, None, None
            )
            report = EndpointReport("off", 0, 0, {}, 0, 0.0, "closed")
            await rounds.do(report)
            assert client.dbsize() > 1
            client.flushdb()
            rounds.over.set()
            await rounds.do(report)
            assert client.dbsize() == 0
