"""The page Now, what is live, refused calls and calls in quarantine: over a real socket, with a real database."""

import asyncio
import time
from typing import Any

import pytest
import redis

from ingest.console import hub as hubs
from ingest.console import live
from ingest.console.hub import HUB, Hub, Picture, Point, Question
from ingest.console.now import Now
from ingest.console.pages.now import minutes
from ingest.console.rendering import environment
from ingest.errors import Unavailable
from ingest.metrics.histogram import BOUNDS, quantile
from ingest.settings import Settings
from ingest.stream.consumer import Pulse
from ingest.stream.refusals import Refusal, Refusals
from tests.support.builders import delivery_id, record
from tests.support.console import console, csrf_of
from workers.handlers.speed import Speed
from workers.operations import audit, quarantine
from workers.operations.calendar import DayStanding
from workers.operations.figures import HandlerFigures, StatusFigures, StoreFigures
from workers.records import NOT_COPERNICAS, Quarantined
from workers.store.store import Store

#: Neither answers.
AWAY = {"DATABASE_URL": "postgresql://ingest@127.0.0.1:1/ingest", "REDIS_URL": "redis://127.0.0.1:1/0"}
HOSTILE = "<script>alert(1)</script>\u202e\x00"


@pytest.fixture
def environ(database: str) -> dict[str, str]:
    return {"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0"}


async def text_of(client: Any, path: str, status: int = 200) -> str:
    answer = await client.get(path)
    assert answer.status == status
    return str(await answer.text())


# --- the page Now ---


async def test_without_redis_the_page_stays_and_says_so_and_shows_what_the_database_knows(
    environ: dict[str, str], store: Store
) -> None:
    async with console(environ) as client:
        text = await text_of(client, "/")
        assert "does not answer" in text
        assert "See that Redis runs and REDIS_URL is right" in text
        assert "Nothing waits for a handler" in text


async def test_without_redis_and_database_the_page_stays_and_says_so() -> None:
    async with console(AWAY) as client:
        text = await text_of(client, "/")
        assert "redis-unreachable" in text
        assert "database-unreachable" in text


async def test_what_changes_is_sent_once_and_the_chart_goes_on(
    environ: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PAUSE", 0.01)
    async with console(environ) as client:
        hub = client.app[HUB]
        hub.points.append(Point(1000.0, 2.5, 1.5, 3))
        stream = await client.get("/live/now")
        names = []
        while True:
            line = (await asyncio.wait_for(stream.content.readline(), 5)).decode()
            if line.startswith("event: "):
                names.append(line.split()[1])
            if line.startswith("data: [["):
                assert line == "data: [[1000.0,2.5,1.5,3]]\n"
                break
        assert names[-1] == "history"
        assert len(names) == len(set(names))
        stream.close()


def test_the_history_by_minutes_has_averages_and_the_largest_backlog() -> None:
    points = [Point(60.0, 1, 2, 5), Point(61.0, 3, 2, 9), Point(120.0, 4, 4, 0)]
    assert list(minutes(points)) == [(120.0, 4.0, 4.0, 0), (60.0, 2.0, 2.0, 9)]


# --- the hub ---


async def test_nobody_is_asked_while_nobody_looks(environ: dict[str, str], store: Store) -> None:
    async with console(environ) as client:
        hub = client.app[HUB]
        while hub.pulse.answer is None:
            await asyncio.sleep(0.01)
        assert [one.answer for one in (hub.redis, hub.store, hub.days)] == [None, None, None]
        with hub.watched():
            while hub.store.answer is None:
                await asyncio.sleep(0.01)


async def test_a_question_without_an_answer_is_said_and_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "PATIENCE", 0.02)
    hub, asked = Hub(Settings.read({"REDIS_URL": "redis://127.0.0.1:1/0"})), 0

    def hangs() -> list[DayStanding]:
        nonlocal asked
        asked += 1
        time.sleep(0.2)
        return []

    hub.days = Question("the days", hangs, 0.01)
    task = asyncio.create_task(hub._keep_asking(hub.days))
    try:
        with hub.watched():
            await asyncio.sleep(0.1)
        assert isinstance(hub.days.answer, Unavailable)
        assert asked == 1
    finally:
        task.cancel()
        await asyncio.wait([task])
        hub.close()


def test_rates_are_of_the_time_between_two_looks_and_never_negative() -> None:
    hub = Hub(Settings.read({}))
    for at, accepted, drained in ((100.0, 10, 10), (105.0, 20, 15), (106.0, 0, 16), (2000.0, 5, 16)):
        hub._add_point(Pulse(at, accepted, drained, 0, 0.0))
    assert list(hub.points) == [Point(2000.0, 0.0, 0.0, 0)], "what is older than the chart is gone"


# --- streams ---


async def test_a_stream_that_fails_ends_and_sends_no_second_answer(
    environ: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("ingest.console.pages.now._parts", fails)
    async with console(environ) as client:
        stream = await client.get("/live/now")
        assert stream.status == 200
        assert b"HTTP/1.1" not in await stream.content.read()


async def test_a_head_does_not_hold_a_place(environ: dict[str, str], store: Store) -> None:
    async with console(environ) as client:
        answer = await asyncio.wait_for(client.head("/live/now"), 5)
        assert answer.headers["Content-Type"] == "text/event-stream"


async def test_one_visitor_cannot_take_all_places(
    environ: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MOST_OF_ONE", 1)
    async with console(environ) as client:
        first = await client.get("/live/now")
        assert (await client.get("/live/now")).status == 503
        first.close()


def test_events_that_come_together_are_one_update() -> None:
    assert live.encoded([("a", "1\r2"), ("b", "\ud800")]) == b"event: a\ndata: 1\ndata: 2\n\nevent: b\ndata: ?\n\n"
    assert live.encoded(("a", "")) == b"event: a\ndata: \n\n"


# --- refused calls ---


async def test_refused_calls_are_shown_with_what_to_check_and_whatever_they_sent_stays_text(
    environ: dict[str, str], redis_url: str, client: redis.Redis
) -> None:
    Refusals(client).add(
        [
            Refusal(
                "wrong-host", 1, "POST", f"/{HOSTILE}", [("host", HOSTILE), (HOSTILE, "\ud800")], "'x'", HOSTILE
            ),
            Refusal("of a later release", 2, "POST", "/", []),
        ]
    )
    async with console(environ | {"REDIS_URL": redis_url, "INGEST_HOSTS": "hooks.example.nl"}) as browser:
        text = await text_of(browser, "/refusals")
    assert "hooks.example.nl" in text
    assert "add it to INGEST_HOSTS" in text
    assert "of a later release" in text
    for part in ("<script>alert", "\u202e", "\x00"):
        assert part not in text


async def test_no_refused_call_is_nothing_to_do(
    environ: dict[str, str], redis_url: str, client: redis.Redis
) -> None:
    async with console(environ | {"REDIS_URL": redis_url}) as browser:
        assert "No call was refused" in await text_of(browser, "/refusals")


async def test_refused_calls_without_redis_say_so(environ: dict[str, str]) -> None:
    async with console(environ) as client:
        assert "does not answer" in await text_of(client, "/refusals", 503)


# --- quarantine ---


def quarantined(number: int, body: bytes, reason: str = "neither a form nor a JSON object") -> Quarantined:
    return Quarantined(record(number)._replace(body=body, delivery_id=delivery_id(number)), reason)


async def test_a_call_in_quarantine_is_raw_and_harmless(environ: dict[str, str], store: Store) -> None:
    body = HOSTILE.encode() + b"\xff\x1b[31m"
    store.add([], [quarantined(1, body, HOSTILE.replace("\x00", ""))])
    one = f"/quarantine/{delivery_id(1).hex()}"
    async with console(environ) as client:
        for path in ("/quarantine", one, f"{one}/drop"):
            text = await text_of(client, path)
            assert "<script>alert" not in text
            assert "\u202e" not in text
        assert "\\xff\\x1b[31m" in await text_of(client, one)
        file = await client.get(f"{one}/body")
        assert await file.read() == body
        assert file.headers["Content-Type"] == "application/octet-stream"
        assert file.headers["Content-Disposition"].startswith("attachment")
        assert file.headers["X-Content-Type-Options"] == "nosniff"


async def test_pages_lead_to_older_and_newer_calls(
    environ: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add([], [quarantined(number, b"x") for number in range(1, 6)])
    first = quarantine.page(store, 2)
    assert [one.delivery_id for one in first.calls] == [delivery_id(5), delivery_id(4)]
    assert first.newer is None
    second = quarantine.page(store, 2, before=first.older)
    assert [one.delivery_id for one in second.calls] == [delivery_id(3), delivery_id(2)]
    assert quarantine.page(store, 2, after=second.newer).calls == first.calls
    last = quarantine.page(store, 2, before=second.older)
    assert (len(last.calls), last.older) == (1, None)
    async with console(environ) as client:
        assert "Nothing more is here" in await text_of(client, "/quarantine?before=00")
        assert "Quarantine" in await text_of(client, "/quarantine?before=zz&after=%00")


async def test_a_call_is_stored_if_it_can_be_by_now_and_else_stays(environ: dict[str, str], store: Store) -> None:
    store.add(
        [], [quarantined(1, b"type=open&recipient=a%40b.nl", "the database refused it"), quarantined(2, b"\xff")]
    )
    async with console(environ) as client:
        token = {"_csrf": csrf_of(await text_of(client, f"/quarantine/{delivery_id(1).hex()}"))}
        for number, said in ((1, "is stored now"), (2, "still cannot be stored")):
            answer = await client.post(f"/quarantine/{delivery_id(number).hex()}/retry", data=token)
            assert said in await answer.text()
    assert store.stored() == 1
    assert {entry.action for entry in audit.entries(store, 10)} == {"retry"}


async def test_a_forged_call_cannot_be_stored_and_a_call_is_dropped_once(
    environ: dict[str, str], store: Store
) -> None:
    store.add([], [quarantined(1, b"type=open", f"{NOT_COPERNICAS}: wrong-signature")])
    one = f"/quarantine/{delivery_id(1).hex()}"
    async with console(environ) as client:
        assert f"{one}/retry" not in (text := await text_of(client, one))
        assert f"{one}/drop" in text
        token = {"_csrf": csrf_of(await text_of(client, f"{one}/drop"))}
        assert "still cannot" in await (await client.post(f"{one}/retry", data=token)).text()
        assert "is dropped" in await (await client.post(f"{one}/drop", data=token)).text()
        for gone in ("drop", "retry"):
            text = await (await client.post(f"{one}/{gone}", data=token)).text()
            assert "not in quarantine any more" in text
            assert "stored now" not in text
        await text_of(client, one, 404)
    assert store.quarantined() == 0


async def test_quarantine_without_a_database_says_so() -> None:
    async with console(AWAY) as client:
        assert "cannot be used" in await text_of(client, "/quarantine", 503)


# --- what is seen in a picture ---


def test_handlers_are_those_that_wait_or_ran_lately_the_failing_ones_first() -> None:
    waiting = {"quick": HandlerFigures(3, 0, None, 0, None), "broken": HandlerFigures(0, 0, None, 7, HOSTILE)}
    store = StoreFigures(True, 1, 0, 0, waiting, None)
    picture = Picture(
        1, StatusFigures(None, store, None, (), ()), None, None, {"quick": Speed(2.0), "calm": Speed()}
    )
    rows = Now.of(picture, []).handlers
    assert [(row.name, row.speed is not None) for row in rows] == [
        ("broken", False),
        ("calm", True),
        ("quick", True),
    ]


async def test_each_page_says_how_much_is_wrong(environ: dict[str, str], store: Store) -> None:
    async with console(environ) as client:
        await text_of(client, "/")
        assert "3 alarms" not in await text_of(client, "/")
        assert " alarm</a>" in await text_of(client, "/quarantine")


def test_only_parts_between_two_backticks_are_code() -> None:
    text = environment("en").filters["marked"]("run `a <b>` or `c` and ` d")
    assert text == "run <code>a &lt;b&gt;</code> or <code>c</code> and ` d"


def test_who_waited_longest_for_an_answer_is_guessed_within_a_bucket() -> None:
    counts = [0] * (len(BOUNDS) + 1)
    assert quantile(counts, 0.5) is None
    counts[3] = 100  # from 2.5 to 5 ms
    assert quantile(counts, 0.5) == pytest.approx(0.00375)
    counts[-1] = 100
    assert quantile(counts, 0.99) == BOUNDS[-1]


async def test_all_calls_are_tried_or_dropped_but_not_those_that_came_after_it_was_asked(
    environ: dict[str, str], store: Store
) -> None:
    store.add([], [quarantined(1, b"type=open&recipient=a%40b.nl", "refused"), quarantined(2, b"\xff")])
    async with console(environ) as client:
        for do, said in (("retry", "stored now"), ("drop", "dropped")):
            text = await text_of(client, f"/quarantine/all?do={do}")
            assert ("2 calls are" if do == "retry" else "1 call is") in text
            newest = delivery_id(2).hex()
            assert f'name="newest" value="{newest}"' in text
            if do == "drop":
                store.add([], [quarantined(9, b"\xff")])
            form = {"_csrf": csrf_of(text), "newest": newest, "do": do}
            answer = await client.post("/quarantine/all", data=form)
            while "task" in answer.url.path and said not in (text := await answer.text()):
                await asyncio.sleep(0.02)
                answer = await client.get(answer.url.path)
            assert said in text
        assert (await client.post("/quarantine/all", data=form | {"newest": "x"})).status == 400
    assert (store.stored(), store.quarantined()) == (1, 1)
