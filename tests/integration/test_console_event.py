"""The page of one event: what it says, its way, and what can be done with it; over a real socket."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from aiohttp.test_utils import TestClient

from ingest.batch import pack
from ingest.copernica.events import Event, EventType
from ingest.stream.keys import Keys
from tests.support.builders import event, record
from tests.support.console import console, csrf_of
from workers.drain.drain import Drain
from workers.handlers.claims import Failure
from workers.handlers.registry import Handler
from workers.handlers.work_queue import WorkQueue
from workers.operations import audit
from workers.operations.event.handing import letters, waiting
from workers.records import Quarantined, record_of
from workers.store.store import Store

HOSTILE = "\u202e<script>alert(1)</script>\x1b"


@pytest.fixture
def environ(database: str, redis_url: str, store: Store) -> dict[str, str]:
    return {"DATABASE_URL": database, "REDIS_URL": redis_url}


async def text_of(client: TestClient, path: str, status: int = 200) -> str:  # type: ignore[type-arg]
    answer = await client.get(path)
    assert answer.status == status, await answer.text()
    return await answer.text()


def path_of(one: Event, more: str = "") -> str:
    return f"/event/{one.delivery_id.hex()}{more}"


def given_up(store: Store, one: Event, handler: str = "crm") -> None:
    """As if a handler had not taken it."""
    queue = WorkQueue(store)
    with store.writing() as connection:
        failure = Failure(
            record_of(one), one.type, one.occurred_at, "ValueError: <b>no</b>", "Traceback <i>", None
        )
        queue._bury(connection, handler, [failure], 3)


@pytest.fixture
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], dict[str, str]]:
    """Settings with two handlers: `crm` takes clicks, and `all_of_them` takes everything."""
    module = tmp_path / "handlers_of_test.py"
    module.write_text(
        'from workers import on\n@on("click")\ndef crm(event): ...\n@on()\ndef all_of_them(event): ...\n'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda environ: environ | {"INGEST_HANDLERS": "handlers_of_test"}


async def test_an_events_page_tells_where_it_came_from_and_when(
    environ: dict[str, str], store: Store, client: redis.Redis
) -> None:
    client.xadd(Keys().stream, {"b": pack([record(1)]), "e": "web:host:7"})
    Drain(client, store).run()
    async with console(environ) as browser:
        text = await text_of(browser, f"/event/{record(1).delivery_id.hex()}")
    for part in ("Received", "web:host:7", "Safe in Redis", "Stored", "drain:", "Everything is done."):
        assert part in text


async def test_whatever_stands_in_an_event_stays_text(environ: dict[str, str], store: Store) -> None:
    one = event(
        recipient=HOSTILE,
        user_agent=HOSTILE,
        url=f"javascript:{HOSTILE}",
        description="x" * 100_000,
        tags=[HOSTILE, *map(str, range(10_000))],
        payload={HOSTILE: {HOSTILE: [HOSTILE]}, "deep": {"a": {"b": {"c": {"d": {"e": "f"}}}}}},
    )
    store.add([one])
    async with console(environ) as browser:
        text = await text_of(browser, path_of(one))
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "\\u202e&lt;script&gt;" in text
    assert 'href="javascript' not in text
    assert "98,000 characters more" in text
    assert "and 9,901 further values" in text
    assert len(text) < 150_000


@pytest.mark.slow
async def test_a_given_up_events_page_shows_why_and_hands_it_on_once(
    environ: dict[str, str], store: Store, handlers: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    one = event(type=EventType.CLICK)
    store.add([one])
    given_up(store, one)
    async with console(handlers(environ)) as browser:
        text = await text_of(browser, path_of(one))
        assert "ValueError: &lt;b&gt;no" in text
        assert "Traceback &lt;i&gt;" in text
        assert f'href="/dead-letter/{one.delivery_id.hex()}?handler=crm"' in text
        form = await text_of(browser, path_of(one, "/hand-on"))
        assert "it gave this one up" in form
        data = {
            "_csrf": csrf_of(form),
            "handler": "crm",
            "_once": form.partition('action="/event/')[2].partition('name="_once" value="')[2][:24],
        }
        answers = await asyncio.gather(
            *(browser.post(path_of(one, "/hand-on"), data=data, allow_redirects=False) for _ in range(3))
        )
        assert sorted(answer.headers["Location"].partition("?")[2] for answer in answers) == [
            "done=handed",
            "done=handed&twice=1",
            "done=handed&twice=1",
        ]
        after = await text_of(browser, path_of(one, "?done=handed"))
        assert "Waits for crm" in after
    assert [one.handler for one in waiting(store, one.delivery_id).waits] == ["crm"]
    assert letters(store, one.delivery_id) == []
    assert [(entry.action, entry.affected) for entry in audit.entries(store, 9)] == [("hand-on", 1)]


@pytest.mark.slow
async def test_a_handler_gets_what_it_does_not_ask_for_only_if_that_is_meant(
    environ: dict[str, str], store: Store, handlers: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    one = event(type=EventType.OPEN)
    store.add([one])
    async with console(handlers(environ)) as browser:
        form = await text_of(browser, path_of(one, "/hand-on"))
        data = {"_csrf": csrf_of(form), "handler": "crm"}
        for wrong in ({}, {"handler": "nobody"}):
            answer = await browser.post(path_of(one, "/hand-on"), data=data | wrong, allow_redirects=False)
            assert answer.status == 400
        assert waiting(store, one.delivery_id).waits == ()
        answer = await browser.post(path_of(one, "/hand-on"), data=data | {"force": "1"}, allow_redirects=False)
        assert answer.headers["Location"].endswith("?done=handed")
    assert len(waiting(store, one.delivery_id).waits) == 1


async def test_an_id_of_no_event_leads_to_what_there_is(environ: dict[str, str], store: Store) -> None:
    store.add((), [Quarantined(record(5), "It is <b>neither</b>.")], unverified=[])
    kept = event(delivery_id=record(6).delivery_id)
    given_up(store, kept)
    async with console(environ) as browser:
        assert "is not the id of an event" in await text_of(browser, "/event/<b>", 404)
        assert "is not the id of an event" in await text_of(browser, f"/event/{'é' * 24}", 404)
        quarantined = await text_of(browser, f"/event/{record(5).delivery_id.hex()}", 404)
        assert f'href="/quarantine/{record(5).delivery_id.hex()}"' in quarantined
        assert "<b>neither" not in quarantined
        assert "Dead letters of crm" in await text_of(browser, path_of(kept), 404)
        assert "Nothing is known of it" in await text_of(browser, "/event/00000001" + "0" * 16, 404)
        for more in ("/json", "/body", "/hand-on"):
            answer = await browser.get(path_of(kept, more), allow_redirects=False)
            assert answer.status in (303, 404)


async def test_the_whole_event_can_be_taken_along(environ: dict[str, str], store: Store) -> None:
    one = event(raw=b"a=\xff&a=1", raw_type="application/x-www-form-urlencoded")
    store.add([one])
    async with console(environ) as browser:
        answer = await browser.get(path_of(one, "/json"))
        assert (await answer.json())["event"]["delivery_id"] == one.delivery_id.hex()
        assert answer.headers["Content-Disposition"].startswith("attachment")
        body = await browser.get(path_of(one, "/body"))
        assert await body.read() == b"a=\xff&a=1"
        assert body.headers["Content-Type"] == "application/octet-stream"


async def test_a_way_is_told_live_while_something_is_under_way(environ: dict[str, str], store: Store) -> None:
    one = event()
    store.add([one], hand_on={one.delivery_id: record_of(one)})
    async with console(environ) as browser:
        assert f'sse-connect="/live{path_of(one)}"' in await text_of(browser, path_of(one))
        answer = await browser.get(f"/live{path_of(one)}")
        first = await answer.content.readuntil(b"\n\n")
        assert b"Waits to be handed on" in first
        WorkQueue(store).dispatch({"crm": Handler("crm", print, frozenset({one.type.value}))})
        assert b"Waits for crm" in await answer.content.readuntil(b"\n\n")
        answer.close()


async def test_without_the_database_the_page_says_so(redis_url: str) -> None:
    environ = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": redis_url}
    async with console(environ) as browser:
        assert "Not available now" in await text_of(browser, "/event/" + "0" * 24, 503)


async def test_erasing_asks_for_the_address_again_and_tells_it_to_nobody(
    environ: dict[str, str], store: Store
) -> None:
    one = event(recipient="Jan@Example.nl")
    store.add([one, event(2, recipient="other@example.nl", profile=1)])
    async with console(environ) as browser:
        text = await text_of(browser, f"/erase?event={one.delivery_id.hex()}")
        assert "About Jan@Example.nl:" in text
        data = {"_csrf": csrf_of(text), "recipient": "Jan@Example.nl", "again": "jan@example.com"}
        answer = await browser.post("/erase", data=data, allow_redirects=False)
        assert answer.status == 400
        assert store.stored() == 2
        answer = await browser.post("/erase", data=data | {"again": " jan@example.NL"}, allow_redirects=False)
        assert answer.status == 303
        path = answer.headers["Location"]
        assert "jan" not in path.lower()
        for _ in range(200):
            if "events deleted" in (text := await text_of(browser, path)):
                break
            await asyncio.sleep(0.05)
        assert "<strong>1</strong> events deleted" in text
        assert "jan@" not in text.lower()
    assert store.stored() == 1
    (entry,) = audit.entries(store, 9)
    assert (entry.action, entry.affected, entry.error) == ("erase", 1, None)
    assert "jan" not in repr(entry).lower()


async def test_an_address_that_is_none_is_not_looked_for(environ: dict[str, str], store: Store) -> None:
    async with console(environ) as browser:
        for address in ("@example.nl", "jan", "x@" + "y" * 2000):
            answer = await browser.get("/erase", params={"recipient": address})
            assert "not a whole e-mail address" in await answer.text()
        assert "names no recipient" in await text_of(browser, "/erase?event=zz")
