"""Handlers at work, with the real parts as processes: endpoint, drain worker, handler workers."""

import json
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from tests.support.http import Answer, Seen, listening
from tests.support.running import Process, answers, free_port, ingest, run, running, until
from workers.store.schema import upgrade

EVENTS = 3_000
#: Calls on which the target of the forwarding test fails: enough for its breaker to open, and for a probe to fail.
FAILURES = 8

NOTE = """
import os
import time

from workers import on


def note(name, event):
    file = os.open(os.environ["NOTES"] + "/" + name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{event.delivery_id.hex()} {time.time()}\\n".encode())
    os.close(file)
"""
THREE = (
    NOTE
    + """

@on()
def fast(event):
    note("fast", event)


@on(rate=os.environ["RATE"], where=lambda event: event.delivery_id[-1] % 12 == 0)
def slow(event):
    note("slow", event)


@on(backoff=[0.2, 0.2])
def failing(event):
    if int(event.delivery_id.hex(), 16) % 100 == 0 and not os.path.exists(os.environ["NOTES"] + "/mended"):
        raise ValueError("one in a hundred")
    note("failing", event)
"""
)


@dataclass
class Site:
    """One installation, with the handlers' module in its folder."""

    port: int
    environ: dict[str, str]
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/copernica"

    def send(self, events: int) -> None:
        more = ("--unsigned", "--connections", "32", "--json")
        done = run("simulate", "--url", self.url, "--events", str(events), *more, environ={})
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["acknowledged"] == events

    def stored(self) -> set[str]:
        path = self.environ["DATABASE_URL"].removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return {row[0].hex() for row in connection.execute("SELECT delivery_id FROM events")}

    def count(self) -> int:
        path = self.environ["DATABASE_URL"].removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])

    def notes(self, name: str) -> list[tuple[str, float]]:
        """What a handler got: delivery ids and times."""
        with suppress(FileNotFoundError):
            lines = (self.folder / name).read_text().splitlines()
            return [(line.split()[0], float(line.split()[1])) for line in lines]
        return []

    def ids(self, name: str) -> list[str]:
        return [delivery_id for delivery_id, _ in self.notes(name)]

    def dead(self) -> list[dict[str, Any]]:
        done = run("failed", "list", "--json", environ=self.environ)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def process(self, *arguments: str) -> Process:
        return Process(ingest(*arguments), self.environ, self.folder / f"{arguments[-1]}.log", cwd=self.folder)


@pytest.fixture
def site(redis_url: str, tmp_path: Path) -> Site:
    port = free_port()
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/events.db",
        "PORT": str(port),
        "INGEST_VERIFY": "off",
        "NOTES": str(tmp_path),
    }
    upgrade(environ["DATABASE_URL"])
    return Site(port, environ, tmp_path)


@pytest.fixture
def parts(site: Site) -> Iterator[list[Process]]:
    """Put processes in here: they are ended, all at once, when the test is over."""
    started: list[Process] = []
    yield started
    for process in started:
        if process.alive:
            process.send(signal.SIGTERM)
    for process in started:
        process.stop()
    told = re.compile(r"which is told in full once .*:\n(  .*\n)+")  # a handler's own fault
    assert [one for one in started if "Traceback" in told.sub("", one.output)] == []


def start(site: Site, parts: list[Process], handlers: int = 2) -> None:
    """The endpoint, one drain worker, and so many for handlers."""
    parts.append(site.process("serve"))
    parts.append(site.process("worker"))
    start_handlers(site, parts, handlers)
    until(lambda: answers(site.port), "the endpoint")


def start_handlers(site: Site, parts: list[Process], count: int) -> None:
    """So many workers for handlers."""
    parts.extend(site.process("worker", "--queue", "handlers") for _ in range(count))


def test_each_handler_gets_its_events_at_its_own_pace(site: Site, parts: list[Process]) -> None:
    (site.folder / "mine.py").write_text(THREE)
    site.environ |= {"INGEST_HANDLERS": "mine", "RATE": "1/h"}
    start(site, parts)
    site.send(EVENTS)
    until(lambda: site.count() == EVENTS, "all stored events")
    stored = site.stored()
    wanted = {delivery_id for delivery_id in stored if int(delivery_id[-2:], 16) % 12 == 0}
    failing = {delivery_id for delivery_id in stored if int(delivery_id, 16) % 100 == 0}

    until(lambda: len(site.notes("fast")) >= EVENTS, "the fast handler")
    until(lambda: len(site.dead()) == len(failing), "the dead letters")
    until(lambda: site.notes("slow"), "the one call that the slow handler may make")
    assert len(site.notes("slow")) == 1, "nobody waited for it"
    assert sorted(site.ids("fast")) == sorted(stored)
    assert sorted(site.ids("failing")) == sorted(stored - failing)
    letters = site.dead()
    assert {letter["delivery_id"] for letter in letters} == failing
    assert {(letter["handler"], letter["attempts"], letter["error"]) for letter in letters} == {
        ("failing", 3, "ValueError: one in a hundred")
    }

    for process in parts[2:]:
        process.stop()
    del parts[2:]
    site.environ["RATE"] = "10000/s"
    start_handlers(site, parts, 2)
    until(lambda: len(site.notes("slow")) >= len(wanted), "the slow handler, at another rate")
    assert sorted(site.ids("slow")) == sorted(wanted)

    (site.folder / "mended").touch()
    done = run("failed", "retry", "--yes", environ=site.environ)
    assert done.returncode == 0, done.stderr
    until(lambda: len(site.notes("failing")) == EVENTS, "what was mended")
    assert sorted(site.ids("failing")) == sorted(stored)
    assert site.dead() == []


def test_a_target_in_trouble_gets_everything_in_the_end(site: Site, parts: list[Process]) -> None:
    lock = Lock()
    now = most = calls = 0
    taken: set[str] = set()

    def answer(seen: Seen) -> Answer:
        nonlocal now, most, calls
        with lock:
            now += 1
            most = max(most, now)
            calls += 1
            down = calls <= FAILURES
        time.sleep(0.005)
        with lock:
            now -= 1
            if not down:
                taken.add(seen.headers["x-ingest-delivery-id"])
        return (500 if down else 200), {}

    with listening() as target:
        target.answer = answer
        site.environ["INGEST_FORWARD_URL"] = f"{target.url}#concurrency=3"
        start(site, parts)
        site.send(1000)
        until(lambda: site.count() == 1000, "1,000 stored events")
        stored = site.stored()
        until(lambda: len(taken) == 1000, "everything", 90)  # some may fail twice, and wait 36 s
        assert taken == stored
        assert len(target.seen) == 1000 + FAILURES
    assert most <= 3
    assert site.dead() == []


def test_dev_takes_up_handlers_as_they_are_written(tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    environ = {"INGEST_HANDLERS": "mine", "INGEST_VERIFY": "off", "NOTES": str(tmp_path)}
    site = Site(port, {"DATABASE_URL": f"sqlite:///{data}/ingest.db"}, tmp_path)
    module = tmp_path / "mine.py"
    module.write_text(NOTE + '\n\n@on()\ndef mine(event):\n    note("one", event)\n')
    with running(
        ingest("dev", "--port", str(port), "--data-dir", str(data)), environ, tmp_path / "log", cwd=tmp_path
    ) as dev:
        until(lambda: "Now type" in dev.output, "the banner")
        site.send(50)
        until(lambda: len(site.notes("one")) == 50, "50 events for the first version")

        module.write_text(NOTE + '\n\n@on()\ndef mine(event):\n    note("another", event)\n')
        until(lambda: "the handlers changed" in dev.output, "the word")
        until(lambda: dev.output.count("handlers: mine") == 2, "the second version")
        site.send(50)
        until(lambda: len(site.notes("another")) == 50, "50 events for the second version")
        assert len(site.notes("one")) == 50

        module.write_text(NOTE + "\n\n@on()\ndef mine(event:\n    pass\n")
        line = len(NOTE.splitlines()) + 4
        until(lambda: f"{module}, line {line}:" in dev.output, "the sentence")
        site.send(50)
        until(lambda: site.count() == 150, "150 stored events")
        said = [text for text in dev.output.splitlines() if str(module) in text]
        assert all("INGEST_HANDLERS=mine cannot be imported" in text for text in said)
        assert "Traceback" not in dev.output

        module.write_text(NOTE + '\n\n@on()\ndef mine(event):\n    note("mended", event)\n')
        until(lambda: len(site.notes("mended")) == 50, "what had waited")
        dev.send(signal.SIGINT)
        assert dev.wait() == 0
    assert "Traceback" not in dev.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import os\nimport there_is_none\n", "line 2: ModuleNotFoundError: No module named 'there_is_none'"),
        ("def f(:\n    pass\n", "line 1: "),
        ("import os\nos._exit(0)\n", "line 2: SystemExit: os._exit(0)"),
        ("from workers import on\n\n@on('opened')\ndef f(event): ...\n", "line 3: ValueError: "),
        ("from workers import on\n\n@on(rate='fast')\ndef f(event): ...\n", "line 3: ValueError: "),
    ],
    ids=["import", "syntax", "end", "type", "rate"],
)
def test_handlers_that_cannot_be_imported_are_named_with_their_line(site: Site, content: str, said: str) -> None:
    module = site.folder / "mine.py"
    module.write_text(content)
    site.environ["INGEST_HANDLERS"] = "mine"
    done = run("worker", "--queue", "handlers", environ=site.environ, cwd=site.folder)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{module}, {said}" in done.stderr
    checked = run("check", environ=site.environ, cwd=site.folder)
    assert checked.returncode != 0
    assert f"{module}, {said}" in checked.stdout
    assert "Traceback" not in checked.stdout + checked.stderr
