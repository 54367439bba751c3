"""The simulator logs what happened, whatever the endpoint took; and a sender that keeps going waits for nobody."""

import asyncio
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain, repeat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ingest.cli.main import main
from ingest.copernica.events import LOGGED_ONLY, Event, EventType, decode
from ingest.copernica.logfiles.kinds import named
from ingest.copernica.logfiles.reader import Entry, Outage, outages, read
from ingest.simulation import sender as sender_module
from ingest.simulation.calls import Call, Simulator
from ingest.simulation.logwriter import LogFolder
from ingest.simulation.report import Report
from ingest.simulation.sender import Sender
from ingest.simulation.signer import Signer
from ingest.simulation.target import Target
from tests.support.http import OK, Answering
from tests.support.running import PATIENCE

REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
NO_ANSWER = b""
#: What no log file of the Marketing Suite holds.
ABOUT_PROFILES = {kind for kind in EventType if "profile" in kind}
NOT_LOGGED = {*ABOUT_PROFILES, *LOGGED_ONLY, EventType.BOUNCE, EventType.UNKNOWN}


def logged(folder: Path) -> list[Event]:
    events = []
    for path in folder.glob("cdm-*"):
        kind, day = named(path.name)
        with path.open("rb") as file:
            for one in read(file, kind):
                assert isinstance(one, Entry), one
                assert one.event.occurred_at // 86_400_000_000 == day.toordinal() - 719_163
                events.append(one.event)
    return events


def failed(folder: Path) -> list[Outage]:
    found = []
    for path in folder.glob("feedback-loop-errors.*.log"):
        with path.open("rb") as file:
            found += [one for one in outages(file) if isinstance(one, Outage)]
    return found


def key(event: Event) -> tuple[object, ...]:
    return event.type, event.message_id, event.occurred_at, event.recipient, event.ip, event.url, event.user_agent


class Kept:
    """Calls, and all of them that were taken."""

    def __init__(self, **options: object) -> None:
        self._calls = iter(Simulator(**options))  # type: ignore[arg-type]
        self.calls: list[Call] = []

    def __iter__(self) -> Iterator[Call]:
        for call in self._calls:
            self.calls.append(call)
            yield call

    def happened(self) -> Counter[tuple[object, ...]]:
        """What log files should tell: what webhooks say, and where they do not, what the simulator knows."""
        truth: Counter[tuple[object, ...]] = Counter()
        for call in self.calls:
            event = decode(call.body, call.content_type, "", 1)
            if event.type not in NOT_LOGGED:
                occurred_at = int(call.fields["time"]) * 1_000_000
                truth[key(event._replace(occurred_at=occurred_at, recipient=call.fields["recipient"]))] += 1
        return truth


def test_all_that_is_sent_is_logged_and_what_was_not_answered_200_twice(tmp_path: Path) -> None:
    # Begins three seconds before midnight, so that there are two days.
    kept = Kept(seed=1, start=1_795_219_197)
    answers = chain([OK] * 300, [REFUSED] * 20, [NO_ANSWER] * 5, repeat(OK))

    async def send() -> Report:
        server = await asyncio.get_running_loop().create_server(lambda: Answering(iter(answers)), "127.0.0.1", 0)
        target = Target(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        with closing(server), LogFolder(tmp_path) as logs:
            return await Sender(target, iter(kept), 1500, logs=logs).run(4)

    report = asyncio.run(send())
    assert (report.acknowledged, report.refused, report.lost) == (1475, {503: 20}, 5)
    assert Counter(map(key, logged(tmp_path))) == kept.happened()
    found = failed(tmp_path)
    assert Counter(one.response for one in found) == {"HTTP 503": 20, "no answer": 5}
    assert found[0].header.startswith("POST /x HTTP/1.1\nHost: 127.0.0.1")
    assert {path.name.split(".")[1] for path in tmp_path.iterdir()} == {"2026-11-20", "2026-11-21"}


def test_forged_calls_are_not_logged(tmp_path: Path) -> None:
    kept = Kept(seed=2, types=["open"])

    async def send() -> None:
        answers = repeat(REFUSED)
        server = await asyncio.get_running_loop().create_server(lambda: Answering(answers), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        with closing(server), LogFolder(tmp_path) as logs:
            await Sender(Target(url, Signer.new("account-1"), forge=0.5), iter(kept), 40, logs=logs).run(2)

    asyncio.run(send())
    assert (len(kept.calls), len(logged(tmp_path)), len(failed(tmp_path))) == (40, 20, 20)


class Clock:
    """Stands in for the module `time` of the sender: its pace is kept to while a test lets time pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def until(self, look: Callable[[], object], step: float = 0.01) -> None:
        """Let `step` seconds pass, again and again, until there is something true to see."""
        async with asyncio.timeout(PATIENCE):
            while not look():
                self.now += step
                await asyncio.sleep(sender_module.TICK)


async def test_a_sender_that_keeps_going_loses_what_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(sender_module, "time", clock)
    monkeypatch.setattr(sender_module, "GONE_AFTER", 0.1)
    connections: set[asyncio.BaseTransport] = set()

    class Counting(Answering):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            connections.add(transport)
            super().connection_made(transport)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Counting(repeat(OK)), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sender = Sender(Target(f"http://127.0.0.1:{port}/x"), iter(Simulator(1)), 300, 400, keep_going=True)
    sending = asyncio.create_task(sender.run(4))
    await clock.until(lambda: sender.report.acknowledged >= 50)
    server.close()
    for connection in connections:
        assert isinstance(connection, asyncio.Transport)
        connection.abort()
    connections.clear()
    await clock.until(lambda: sender.report.lost >= 50)
    before = sender.report.acknowledged
    server = await loop.create_server(lambda: Counting(repeat(OK)), "127.0.0.1", port)
    await clock.until(lambda: connections, step=0.0)
    await clock.until(sending.done)
    report = await sending
    server.close()
    assert (report.sent, report.acknowledged + report.lost, report.complete) == (300, 300, False)
    assert report.acknowledged > before > 0
    assert report.lost >= 50


def typed(*words: str) -> Result:
    return CliRunner().invoke(main, ["simulate", "--unsigned", "--url", "http://127.0.0.1:1/copernica", *words])


def test_the_command_logs_what_was_not_accepted_and_appends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "GONE_AFTER", 0.1)
    more = ("--seed", "4", "--rate", "2000", "--keep-going", "--with-logfiles", str(tmp_path / "a" / "b"))
    for _ in range(2):
        done = typed("--events", "200", "--json", *more)
        assert (done.exit_code, done.stderr) == (1, "")
        assert [json.loads(done.stdout)[name] for name in ("sent", "lost_connections")] == [200, 200]
    kept = Kept(seed=4)
    for _ in zip(range(200), kept, strict=False):
        pass
    once = kept.happened()
    assert Counter(map(key, logged(tmp_path / "a" / "b"))) == once + once
    assert {one.response for one in failed(tmp_path / "a" / "b")} == {"nobody took the call"}
    with (tmp_path / "a" / "b" / "cdm-impression.2026-11-20.log").open(newline="") as file:
        assert [row[0] for row in csv.reader(file)].count("id") == 1


def test_the_command_says_what_it_cannot_do(tmp_path: Path) -> None:
    done = typed("--keep-going")
    assert (done.exit_code, done.stderr) == (2, "ingest: --keep-going needs a pace to keep: add --rate.\n")
    for option, value, wrong in (("--products", "ms,x", "x"), ("--logfiles-zone", "Mars/Phobos", "Mars/Phobos")):
        done = typed(option, value)
        assert done.exit_code == 2
        assert f"Invalid value for '{option}': '{wrong}' is no" in done.stderr
    (tmp_path / "file").touch()
    for command in (["simulate", "--unsigned", "--with-results"], ["fake-api", "--results"]):
        done = CliRunner().invoke(main, [*command, str(tmp_path / "file" / "truth")])
        assert done.exit_code == 1
        assert done.stderr.startswith("ingest: The truth in ")
    done = CliRunner().invoke(main, ["fake-api"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    (tmp_path / "cdm-impression.2026-11-20.log").mkdir()
    done = typed("--seed", "1", "--rate", "9", "--keep-going", "--types", "open", "--with-logfiles", str(tmp_path))
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("ingest: Log files cannot be written to ")
