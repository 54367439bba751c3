"""The list of events, a message and a recipient in the console: what is asked for, shown, exported, and safe."""

import asyncio
import csv
import io
import json
import re
import threading
from typing import Any

import pytest
from aiohttp import ClientError

from ingest.console import exporting
from ingest.console.reading import READING, THREADS
from ingest.console.seals import SEALS
from ingest.copernica.events import Event, EventType
from ingest.errors import TookTooLong
from ingest.redis_client import connect
from ingest.stream.announcements import Announcements
from tests.support.builders import NINE, SECOND, delivery_id, event
from tests.support.console import console, csrf_of, sign_in
from workers.operations import audit
from workers.store import search, tables
from workers.store.search import Found, Place
from workers.store.store import Store

NASTY = '"><script>alert(1)</script>\u202e'
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def environ(sqlite_url: str) -> dict[str, str]:
    return {"DATABASE_URL": sqlite_url, "REDIS_URL": NOWHERE}


@pytest.fixture
def stored(sqlite_url: str) -> list[Event]:
    """What became of a message, a failure of another one, and something nasty in each text of a third."""
    hour = 3600 * SECOND
    click = {"type": EventType.CLICK, "url": "https://example.nl/aanbieding", "occurred_at": NINE + 2 * hour}
    failed = {"type": EventType.FAILURE, "code": 550, "description": "user unknown", "message_id": "m2"}
    texts = {"recipient", "message_id", "ip", "url", "user_agent", "description", "extended"}
    events = [
        event(1, type=EventType.DELIVERY, mailing=7, user_agent=None),
        event(2, occurred_at=NINE + hour, mailing=7),
        event(3, mailing=7, **click),
        event(4, recipient="eva@example.nl", mailing=8, occurred_at=NINE + 3 * hour, user_agent=None, **failed),
        event(5, occurred_at=NINE - hour, tags=[NASTY, *["t"] * 20], **dict.fromkeys(texts, NASTY)),
    ]
    with Store.open(sqlite_url) as store:
        store.add(events)
    return events


async def text_of(environ: dict[str, str], path: str, status: int = 200, language: str = "en") -> str:
    async with console(environ, **{"Accept-Language": language}) as client:
        answer = await client.get(path)
        assert answer.status == status
        return await answer.text()


def shown(text: str) -> list[int]:
    """The numbers of the events that a page shows, in its order."""
    return [int(found[8:], 16) for found in re.findall(r'data-open href="/event/([0-9a-f]{24})"', text)]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [4, 3, 2, 1, 5]),
        ("type=click&type=failure", [4, 3]),
        ("recipient=JAN@example.nl", [3, 2, 1]),
        ("message=m2", [4]),
        ("mailing=7&type=open", [2]),
        ("text=AANBIEDING", [3]),
        ("tag=t", [5]),
        ("tag=%22%3E%3Cscript%3Ealert(1)%3C/script%3E%E2%80%AE", [5]),
        ("since=2026-11-20T10:30&tz=UTC", [4, 3]),
        ("since=2026-11-20T11:30&until=2026-11-20T12:30&tz=Europe/Amsterdam", [3]),
        (
            "mailing=none&source=x&since=soon&tz=Nowhere/Land&type=nonsense&before=x&col=nonsense&last=1y",
            [4, 3, 2, 1, 5],
        ),
        ("recipient=%00%FF", []),
        ("mailing=999999999999999999", []),
    ],
)
async def test_the_list_has_what_is_asked_for(
    environ: dict[str, str], stored: list[Event], query: str, numbers: list[int]
) -> None:
    assert shown(await text_of(environ, f"/events?{query}")) == numbers


async def test_pages_lead_to_each_other(
    environ: dict[str, str], stored: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.console.pages.events.SIZE", 2)
    async with console(environ) as client:
        seen, path = [], "/events?tag=a"
        for _ in range(2):
            text = await (await client.get(path)).text()
            seen.append(shown(text))
            found = re.search(r'href="([^"]+)" rel="next"', text)
            path = found[1].replace("&amp;", "&") if found else ""
        assert (seen, path) == ([[4, 3], [2, 1]], "")
        back = re.search(r'href="([^"]+)" rel="prev"', text)
        assert back is not None
        assert shown(await (await client.get(back[1].replace("&amp;", "&"))).text()) == [4, 3]


async def test_what_came_from_outside_stays_text(environ: dict[str, str], stored: list[Event]) -> None:
    every = "&".join(
        f"col={name}" for name in ("recipient", "detail", "tags", "message", "url", "ip", "agent", "answer")
    )
    async with console(environ) as client:
        pages = [await (await client.get("/events?tag=t&" + every)).text()]
        for path in re.findall(r'href="(/(?:recipient|message)[^"]+)"', pages[0]):
            answer = await client.get(path.replace("&amp;", "&"))
            assert answer.status == 200
            pages.append(await answer.text())
    assert len(pages) == 3
    for text in pages:
        assert "<script>alert" not in text
        assert "\u202e" not in text
        assert "&lt;script&gt;alert(1)" in text


async def test_a_list_without_events_says_what_to_do(environ: dict[str, str]) -> None:
    assert "ingest simulate" in await text_of(environ, "/events")
    assert "Take something out of the search" in await text_of(environ, "/events?text=x")
    assert "Which message?" in await text_of(environ, "/message")
    assert "may have expired" in await text_of(environ, "/message/m%2F1", 404)
    assert "check how it is written" in await text_of(environ, "/recipient?address=x@y", 404)


async def test_without_the_database_the_pages_say_so(tmp_path: object) -> None:
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/none.db", "REDIS_URL": NOWHERE}
    for path in ("/events", "/message/m1", "/recipient?address=x@y", "/audit"):
        assert "ingest db upgrade" in await text_of(environ, path, 503)


async def test_a_redis_that_hangs_holds_up_no_page_of_the_database(
    environ: dict[str, str], stored: list[Event]
) -> None:
    released = threading.Event()
    async with console(environ) as client:
        reading = client.app[READING]
        held = [asyncio.ensure_future(reading.redis(lambda _: released.wait())) for _ in range(THREADS)]
        assert (await asyncio.wait_for(client.get("/events"), 5)).status == 200
        released.set()
        await asyncio.gather(*held)


async def test_a_message_tells_what_became_of_it(environ: dict[str, str], stored: list[Event]) -> None:
    text = await text_of(environ, "/message/5fd2")
    assert shown(text) == [1, 2, 3]
    assert text.count("60 minutes later") == 2
    assert re.search(r'href="/recipient\?address=~[\w-]{40,}"', text)
    assert "address=jan" not in text
    assert 'href="/mailing/7"' in text


@pytest.mark.parametrize("path", ["/message/nobody", "/recipient?address=nobody@example.nl"])
async def test_what_was_not_looked_for_everywhere_is_not_said_to_be_nowhere(
    environ: dict[str, str], stored: list[Event], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "search", lambda *_, **__: Found([], Place(7), reached=7))
    text = await text_of(environ, path)
    assert "Nothing is stored" not in text
    assert re.search(r'href="[^"]*(after|before)=7[^"]*" rel="next">Search further', text)


async def test_a_recipient_is_summed_up(environ: dict[str, str], stored: list[Event]) -> None:
    text = await text_of(environ, "/recipient?address=Jan@Example.NL", language="nl")
    assert shown(text) == [3, 2, 1]
    assert "60 minuten eerder" in text
    assert "3 events" in text
    assert re.search(r'href="/erase\?recipient=~[\w-]{40,}"', text)


async def test_a_recipient_who_cannot_be_summed_up_in_time_has_a_timeline(
    environ: dict[str, str], stored: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object) -> None:
        raise TookTooLong("too long")

    monkeypatch.setattr(search, "kinds", late)
    text = await text_of(environ, "/recipient?address=jan@example.nl")
    assert shown(text) == [3, 2, 1]
    assert "could not be summed up in time" in text


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        (" Jan+x@example.nl ", "/recipient?address=SEALED"),
        ("from jan@example.nl", "/events?text=SEALED"),
        (delivery_id(2).hex().upper(), f"/event/{delivery_id(2).hex()}"),
        ("f" * 24, f"/events?text={'f' * 24}"),
        ("5fd2", "/message/5fd2"),
        ("7", "/mailing/7"),
        ("12", "/events?profile=12"),
        ("//evil.example", "/events?text=//evil.example"),
        ("user unknown", "/events?text=user%20unknown"),
        ("", "/events"),
    ],
)
async def test_what_is_typed_in_the_header_leads_to_its_page(
    environ: dict[str, str], stored: list[Event], typed: str, path: str
) -> None:
    async with console(environ) as client:
        answer = await client.post("/find", data={"q": typed}, allow_redirects=False)
        sealed = client.app[SEALS].closed(typed.strip())
        assert (answer.status, answer.headers["Location"]) == (303, path.replace("SEALED", sealed))


async def test_who_is_looked_for_stands_in_no_address_of_a_page(
    environ: dict[str, str], stored: list[Event]
) -> None:
    secret = {**environ, "INGEST_CONSOLE_SECRET": "a-secret-that-outlives-the-console"}
    form = {"recipient": "jan@example.nl", "text": "jan@example", "mailing": "7", "type": "open"}
    async with console(secret) as client:
        found = await client.post("/events", data=form)
        assert shown(await found.text()) == [2]
        assert "jan" not in str(found.url), found.url
        for open_to_read in ("/events?mailing=7&recipient=jan@example.nl", "/recipient?address=jan@example.nl"):
            led = await client.get(open_to_read, allow_redirects=False)
            assert (led.status, "jan" in led.headers["Location"]) == (303, False)
        bookmark = found.url.path_qs
    async with console(secret) as again:
        assert shown(await (await again.get(bookmark)).text()) == [2], "good for as long as the secret"
    async with console(environ) as another:
        text = await (await another.get(bookmark)).text()
        assert "type it again" in text
        gone = await another.get("/recipient?address=" + client.app[SEALS].closed("jan@example.nl"))
        assert (gone.status, "type the address again" in await gone.text()) == (404, True)
        assert (await another.post("/find", data={"q": "x"}, headers={"Origin": "http://evil"})).status == 403


async def test_an_export_is_what_the_list_shows_and_is_in_the_audit(
    environ: dict[str, str], stored: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.console.exporting.PORTION", 2)
    async with console(environ) as client:
        answer = await client.get("/events/export?format=csv")
        assert "attachment" in answer.headers["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(await answer.text())))
        assert [row["delivery_id"] for row in rows] == [delivery_id(number).hex() for number in (4, 3, 2, 1, 5)]
        lines = await (await client.get("/events/export?format=jsonl&recipient=jan@example.nl&type=open")).text()
        assert [json.loads(line)["type"] for line in lines.splitlines()] == ["open"]
        assert (await client.get("/events/export?format=xls")).status == 404
        elsewhere = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert (await client.get("/events/export", headers=elsewhere)).status == 403, "asked by another site"
    with Store.open(environ["DATABASE_URL"]) as store:
        entries = audit.entries(store, 10)
    assert [(entry.action, entry.affected) for entry in entries] == [("export", 1), ("export", 5)]
    assert entries[0].what == {"format": "jsonl", "recipient": "(a person)", "types": ["open"]}


async def test_no_more_than_a_few_export_at_once(
    environ: dict[str, str], stored: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.console.exporting.MOST_EXPORTS", 1)
    released = threading.Event()
    async with console(environ) as client:
        reading = client.app[READING]
        held = [asyncio.ensure_future(reading.store(lambda _: released.wait())) for _ in range(THREADS)]
        two = [asyncio.ensure_future(client.get("/events/export")) for _ in range(2)]
        (refused,), (begun,) = await asyncio.wait(two, return_when=asyncio.FIRST_COMPLETED)
        assert "Several exports" in await refused.result().text()
        released.set()
        assert (await begun).status == 200
        await asyncio.gather(*held)


async def test_an_export_ends_with_the_session_and_is_cut_off(
    environ: dict[str, str], stored: list[Event]
) -> None:
    released, password = threading.Event(), "een-lang-wachtwoord"
    async with console({**environ, "INGEST_CONSOLE_PASSWORD": password}) as client:
        await sign_in(client, password)
        token = csrf_of(await (await client.get("/nothing")).text())
        reading = client.app[READING]
        held = [asyncio.ensure_future(reading.store(lambda _: released.wait())) for _ in range(THREADS)]
        export = asyncio.ensure_future(client.get("/events/export"))
        while not client.app[exporting._RUNNING]:
            await asyncio.sleep(0)
        assert (await client.post("/logout", data={"_csrf": token}, allow_redirects=False)).status == 303
        released.set()
        with pytest.raises(ClientError):
            await (await export).read()
        await asyncio.gather(*held)


async def test_new_events_appear_for_whoever_watches(
    sqlite_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.console.tail.EVERY", 0.02)
    async with console({"DATABASE_URL": sqlite_url, "REDIS_URL": redis_url}) as client:
        answer = await client.get("/live/events?type=click&col=recipient")
        while connect(redis_url).pubsub_numsub("ingest:{0}:stored")[0][1] == 0:
            await asyncio.sleep(0.01)
        with Store.open(sqlite_url) as store, connect(redis_url) as client_of_redis:
            new = [event(1), event(2, type=EventType.CLICK, url=NASTY)]
            store.add(new)
            Announcements(client_of_redis).publish([one.delivery_id for one in new])
        rows = ""
        while not rows:
            line = (await asyncio.wait_for(answer.content.readline(), 10)).decode()
            if line.startswith("data: "):
                told: dict[str, Any] = json.loads(line[6:])
                rows = told["rows"]
        assert (shown(rows), told["state"]) == ([2], "on")
        answer.close()


async def test_who_watches_is_told_of_events_after_one_that_cannot_be_read(
    sqlite_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.console.tail.EVERY", 0.02)
    monkeypatch.setattr("ingest.console.live.PAUSE", 0.0)
    async with console({"DATABASE_URL": sqlite_url, "REDIS_URL": redis_url}) as client:
        answer = await client.get("/live/events")
        while connect(redis_url).pubsub_numsub("ingest:{0}:stored")[0][1] == 0:
            await asyncio.sleep(0.01)
        with Store.open(sqlite_url) as store, connect(redis_url) as client_of_redis:
            store.add([event(1), event(2)])
            with store.writing() as connection:
                odd = tables.events.c.delivery_id == delivery_id(1)
                connection.execute(tables.events.update().where(odd).values(type="of a later release"))
            for number, expected in ((1, '"state": "away"'), (2, delivery_id(2).hex())):
                Announcements(client_of_redis).publish([delivery_id(number)])
                while expected not in (await asyncio.wait_for(answer.content.readline(), 10)).decode():
                    pass
        answer.close()
