"""The pages of handlers and dead letters: what they show, and what can be done from them."""

import asyncio
import time
from datetime import UTC, datetime

import pytest
import redis
from aiohttp.test_utils import TestClient

from ingest.console.pages import handlers as handler_pages
from ingest.console.pages.dead_letters import Asked
from ingest.console.tasks import find, recent
from ingest.stream.pauses import Pauses
from tests.support.builders import failure, handler, numbers, record
from tests.support.console import console, csrf_of
from tests.support.plugged import Plug
from tests.support.sql import add, dead, execute, give, rows
from workers.handlers import dead_letters, letter_pages, waiting
from workers.handlers import standing as standings
from workers.handlers.announced import announce, announced
from workers.handlers.dead_letters import Wanted, act_on, letters
from workers.handlers.letter_pages import Place, count
from workers.handlers.standing import put_off, retry_now, standing
from workers.handlers.work_queue import WorkQueue
from workers.operations import audit
from workers.store.store import Store

#: What somebody else wrote, wherever they could.
EVIL = "<script>alert(1)</script>\u202e\x1b[31m"


@pytest.fixture
def environ(database: str, redis_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database, "REDIS_URL": redis_url}


def bury(
    store: Store, *calls: int, name: str = "h", error: str = "ValueError: no", body: bytes | None = None
) -> None:
    queue = WorkQueue(store)
    records = [record(number, body=body) for number in calls]
    with store.writing() as connection:
        queue._bury(connection, name, [failure(one, None)._replace(error=error) for one in records], 7)


async def ended(client: TestClient, number: str) -> None:  # type: ignore[type-arg]
    """Wait for a task."""
    task = find(client.app, number)
    assert task is not None
    async with asyncio.timeout(20):
        while task.ended_at is None:
            await asyncio.sleep(0.01)


async def text_of(client: TestClient, path: str, status: int = 200) -> str:  # type: ignore[type-arg]
    answer = await client.get(path)
    assert answer.status == status
    return str(await answer.text())


async def test_without_any_handler_the_page_says_what_one_is(environ: dict[str, str], store: Store) -> None:
    async with console(environ) as client:
        assert "INGEST_HANDLERS" in await text_of(client, "/handlers")
        assert "There are no dead letters" in await text_of(client, "/dead-letters")
        assert "No handler of this name" in await text_of(client, "/handler?name=x", 404)
        await text_of(client, "/handler", 404)


async def test_a_handler_is_shown_with_its_options_and_why_it_fails(
    environ: dict[str, str], plug: Plug, store: Store, client: redis.Redis
) -> None:
    world = plug("""
@on("open", backoff=(3600,), rate="50/s", timeout=3)
def h(event): raise ValueError("<script>alert(1)</script>\\u202e\\x1b[31m")
""")
    add(store, *map(record, range(3)))
    await asyncio.to_thread(world.work)
    async with console(environ) as visitor:
        listed = await text_of(visitor, "/handlers")
        shown = await text_of(visitor, "/handler?name=h")
        for text in (listed, shown):
            assert "ValueError: &lt;script&gt;alert(1)&lt;/script&gt;\\u202e\\x1b[31m" in text
            assert "<script>alert" not in text
        assert "at most 50 calls per second" in shown
        assert "1 / 2" in shown
        assert "Traceback" in shown
        assert "Failing" in listed
        execute(store, "UPDATE handler_runs SET began_at = began_at - 99000000, ended_at = ended_at - 99000000")
        assert "Waiting for another attempt" in await text_of(visitor, "/handlers"), (
            "not Ready, while nothing works"
        )
        answer = await visitor.post("/handler/retry", data={"_csrf": csrf_of(shown), "name": "h"})
        assert "What waited for a later attempt is tried now. 3 calls." in await answer.text()
    await asyncio.to_thread(world.work)
    assert dead(store) == [0, 1, 2]
    (entry,) = audit.entries(store, 9)
    assert (entry.action, entry.what, entry.affected) == ("retry-now", {"handler": "h"}, 3)


async def test_a_handler_is_paused_and_resumed(environ: dict[str, str], store: Store, client: redis.Redis) -> None:
    announce(client, [handler("h")], at_once=True)
    async with console(environ) as visitor:
        token = csrf_of(await text_of(visitor, "/handler?name=h"))
        answer = await visitor.post("/handler/pause", data={"_csrf": token, "name": "h", "seconds": "600"})
        assert "Paused" in await answer.text()
        (pause,) = Pauses(client).all()
        assert pause.name == "handler:h"
        assert pause.until is not None
        assert 590 < pause.until / 1e6 - time.time() < 610
        for data, status in (({"seconds": "-1"}, 400), ({"seconds": "5"}, 400), ({"name": "other"}, 404)):
            given = {"_csrf": token, "name": "h", "seconds": "0"} | data
            assert (await visitor.post("/handler/pause", data=given)).status == status
        answer = await visitor.post("/handler/resume", data={"_csrf": token, "name": "h"})
        assert "It goes on." in await answer.text()
        assert Pauses(client).all() == []
    assert [entry.action for entry in audit.entries(store, 9)] == ["resume", "pause"]


async def test_pages_say_what_is_away_and_show_the_rest(environ: dict[str, str], store: Store) -> None:
    bury(store, 1)
    async with console(environ | {"REDIS_URL": "redis://127.0.0.1:1/0"}) as client:
        text = await text_of(client, "/handlers")
        assert "Connection refused" in text
        assert "/dead-letters?handler=h" in text
        assert "Connection refused" in await text_of(client, "/handler?name=h")
        token = csrf_of(await text_of(client, "/dead-letters"))
        answer = await client.post(
            "/dead-letters/selected", data={"_csrf": token, "letter": f"{1:024x}:h", "do": "retry"}
        )
        assert "Redis does not answer" in await answer.text()
    assert WorkQueue(store).waiting() == {"h": 1}


async def test_dead_letters_are_chosen_and_paged(
    environ: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letter_pages.page, "__defaults__", (None, 3))
    bury(store, *range(5))
    bury(store, 7, name="forward:old.example.nl/a.php", error="the target answered 503")
    async with console(environ) as client:
        first = await text_of(client, "/dead-letters")
        older = first.partition("after=")[2].partition('"')[0]
        second = await text_of(client, f"/dead-letters?after={older}")
        found = [f"{number:024x}" for number in (0, 1, 2, 3, 4, 7)]
        assert sorted(one for one in found for text in (first, second) if f'value="{one}:' in text) == found
        only = await text_of(client, "/dead-letters?error=answered+503")
        assert [one for one in found if f'value="{one}:' in only] == [found[-1]]
        assert "No dead letter matches" in await text_of(client, "/dead-letters?handler=gone")
        for wrong in ("type=nonsense", "since=yesterday", "error=%00", f"handler={'x' * 1001}", "until=%ED%A0%80"):
            text = await text_of(client, f"/dead-letters?{wrong}")
            if not wrong.startswith("until"):
                assert "cannot be read" in text
            answer = await client.get(f"/dead-letters/all?do=drop&{wrong}", allow_redirects=False)
            assert answer.status == 303
        for after in ("1:zz:h", "x", "9" * 50, ":", "1:00:\udc80".encode("utf-8", "replace").decode()):
            await text_of(client, f"/dead-letters?after={after}")


async def test_one_that_is_rare_is_looked_for_bit_by_bit(
    environ: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(store, 99, error="a rare one")
    bury(store, *range(20))
    monkeypatch.setattr(letter_pages, "LOOK", 8)
    pages, after = [], None
    while True:
        page = letter_pages.page(store, Wanted(error="rare"), after)
        pages.append(page)
        if (after := page.next) is None:
            break
        assert page.gave_up
        assert after == Place.from_text(after.as_text()) or after.failed_at.tzinfo is None
    assert [len(page.letters) for page in pages] == [0, 0, 1]


async def test_one_letter_is_shown_in_full_and_retried_or_dropped(environ: dict[str, str], store: Store) -> None:
    body = b"type=open&time=1795165964&id=m&recipient=%3Cscript%3Ealert(1)%3C%2Fscript%3E%E2%80%AE"
    bury(store, 1, 2, error=EVIL, body=body)
    async with console(environ) as client:
        path = f"/dead-letter/{1:024x}"
        text = await text_of(client, f"{path}?handler=h")
        assert "<script>alert" not in text
        assert "\u202e" not in text
        assert "Traceback" in text
        assert text.count("&lt;script&gt;alert(1)") >= 2
        token = csrf_of(text)
        answer = await client.post(path, data={"_csrf": token, "handler": "h", "do": "retry"})
        retried = await answer.text()
        assert "It was given to its handler again." in retried
        assert f'href="/event/{1:024x}"' in retried, "where its outcome is seen"
        assert "is not there any more" not in retried
        answer = await client.post(path, data={"_csrf": token, "handler": "h", "do": "retry"})
        assert "It was gone already." in await answer.text()
        data = {"_csrf": token, "handler": "h", "do": "drop"}
        answer = await client.post(f"/dead-letter/{2:024x}", data=data)
        assert "It was dropped." in await answer.text()
        await text_of(client, f"/dead-letter/{1:024x}?handler=h", 404)
        await text_of(client, "/dead-letter/abc?handler=h", 404)
    assert (WorkQueue(store).waiting(), dead(store)) == ({"h": 1}, [])


async def test_all_that_match_are_counted_first_and_then_done_beside_the_pages(
    environ: dict[str, str], store: Store
) -> None:
    bury(store, *range(1200))
    bury(store, 5000, name="other")
    async with console(environ) as client:
        text = await text_of(client, "/dead-letters/all?do=retry&handler=h")
        assert "1,200 dead letters" in text
        before = text.partition('name="before" value="')[2].partition('"')[0]
        bury(store, 3000)  # failed since: it is not among those that were counted
        data = {"_csrf": csrf_of(text), "do": "retry", "handler": "h", "before": before}
        answer = await client.post("/dead-letters/all", data=data)
        number = answer.url.path.rpartition("/")[2]
        await ended(client, number)
        text = await text_of(client, f"/task/{number}")
        assert "<strong>1,200</strong> given to their handlers again" in text
        for wrong in ({"before": "x"}, {"do": "burn"}, {"type": "nonsense"}, {"before": "9" * 30}):
            assert (await client.post("/dead-letters/all", data=data | wrong)).status == 400
        assert len(recent(client.app)) == 1
    assert (dead(store), dead(store, "other")) == ([3000], [5000])
    assert WorkQueue(store).waiting() == {"h": 1200}
    (entry,) = audit.entries(store, 9)
    assert (entry.action, entry.affected, entry.what["handler"]) == ("retry-dead-letters", 1200, "h")


def test_what_is_done_with_all_can_be_stopped_and_passes_over_what_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "PORTION", 4)
    bury(store, *range(10))
    steps: list[int] = []
    assert act_on(letters(store, Wanted()), len, steps.append, lambda: len(steps) == 2) == 8
    assert act_on(letters(store, Wanted()), lambda some: 0, steps.append) == 0
    assert steps == [4, 4, 4, 4, 2]
    assert (count(store, Wanted()), count(store, Wanted(), most=3)) == (10, 4)
    soon = datetime(2030, 1, 1, tzinfo=UTC)
    assert act_on(letters(store, Wanted(until=soon, since=soon)), len, steps.append) == 0


def test_a_standing_tells_what_waits_runs_and_comes_again(store: Store) -> None:
    queue, one = WorkQueue(store), handler("h", retries=3)
    give(store, "h", [record(number) for number in range(4)])
    give(store, "other", [record(9)])
    claim = queue.claim(one, 10, 1)
    assert claim is not None
    now = standing(store, "h")
    assert (now.running, now.claims, now.oldest_due, now.retries) == (4, 1, None, ())
    claim.failures += [failure(call, 60.0) for call in claim.records[:3]]
    queue.settle(one, claim, claim.records[3:], release=True)
    now = standing(store, "h")
    assert (now.running, now.oldest_due is not None) == (0, True)
    ((again),) = now.retries
    assert (again.attempts, again.calls, again.error) == (1, 3, "ValueError: no")
    assert again.next_at > time.time_ns() // 1000 + 50_000_000
    assert retry_now(store, put_off(store, "h")) == 3
    claims = [queue.claim(one, 10, 1), queue.claim(one, 10, 1)]
    assert sorted(len(claim.records) for claim in claims if claim) == [1, 3]
    assert [len(put_off(store, name)) for name in ("h", "other")] == [0, 0]
    assert sorted(numbers(claims[0].records + claims[1].records)) == [0, 1, 2, 3]  # type: ignore[union-attr]


def put_off_calls(store: Store, *calls: int) -> None:
    """Rows of one call each that are due in an hour."""
    queue, later = WorkQueue(store), time.time_ns() // 1000 + 3_600_000_000
    with store.writing() as connection:
        for number in calls:
            queue._insert(connection, "h", [record(number)], 1, later)


def test_what_is_tried_now_is_what_waited_then_and_can_be_stopped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standings, "PORTION", 3)
    put_off_calls(store, *range(10))
    waited, steps = put_off(store, "h"), list[int]()
    assert (len(waited), list(waited)) == (10, sorted(waited))
    assert retry_now(store, waited, step=steps.append, stopped=lambda: len(steps) == 2) == 6
    put_off_calls(store, 20)  # what failed again: its time has not come
    assert retry_now(store, waited, step=steps.append) == 4
    assert steps == [3, 3, 3, 3, 3, 1]
    assert len(put_off(store, "h")) == 1
    assert len(set(rows(store, "SELECT due_at FROM handoffs"))) > 4, "claims look at few of the same time"


async def test_very_much_is_tried_now_beside_the_pages(
    environ: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler_pages, "MOST_AT_ONCE", 4)
    put_off_calls(store, *range(5))
    async with console(environ) as client:
        csrf = csrf_of(await text_of(client, "/handler?name=h"))
        answer = await client.post("/handler/retry", data={"_csrf": csrf, "name": "h"})
        number = answer.url.path.rpartition("/")[2]
        await ended(client, number)
        assert "<strong>5</strong> given to their handlers again" in await text_of(client, f"/task/{number}")
    assert len(put_off(store, "h")) == 0
    (entry,) = audit.entries(store, 9)
    assert (entry.action, entry.affected, entry.what) == ("retry-now", 5, {"handler": "h"})


def test_workers_look_for_what_is_due_at_few_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK", 2)
    queue = WorkQueue(store)
    now = queue._now()
    with store.writing() as connection:
        for name, due, leased in (
            ("busy", -9, 5), ("busy", -8, 5), ("busy", -7, 4), ("busy", 3, 0), ("busy", 9, 0),
            ("free", -9, 5), ("free", -8, 5), ("free", -7, -1), ("later", 60, 0),
        ):  # fmt: skip  # a list to be read across
            at, until = now + due * 1_000_000, now + leased * 1_000_000
            queue._insert(connection, name, [record(1)], 1, at, until)
    assert queue.due() == ["free"]
    seconds = [queue.next_due([name]) for name in ("busy", "free", "later", "nobody")]
    assert [None if one is None else round(one) for one in seconds] == [3, 0, 60, None]
    assert queue.next_due(["later", "busy"]) == pytest.approx(3, abs=0.5)


def test_workers_tell_what_handlers_they_have(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    announce(client, [handler("a", batch=5), handler("b", "click")])
    announce(client, [handler("c")])
    assert [one.handler.name for one in announced(client)] == ["a", "b"], "one has just told"
    assert announced(client)[0].handler.batch == 5
    client.hset("ingest:{0}:handlers", "odd", '{"of": "another release"}')
    announce(client, [handler("c")], at_once=True)
    assert [one.handler.name for one in announced(client)] == ["a", "b", "c"]


def test_how_much_waits_is_counted_from_an_index(store: Store) -> None:
    query = "SELECT handler, sum(count) FROM handoffs GROUP BY handler"
    if store.engine.dialect.name == "sqlite":
        assert "COVERING INDEX handoffs_due" in str(rows(store, f"EXPLAIN QUERY PLAN {query}"))


def test_times_of_a_form_are_in_the_zone_of_whoever_typed_them() -> None:
    form = {"since": "2026-11-26T12:00", "tz": "America/New_York"}
    assert Asked.of(form).wanted("Europe/Amsterdam").since == datetime(2026, 11, 26, 17, tzinfo=UTC)
    assert "tz=America%2FNew_York" in Asked.of(form).query(), "it stays so on the next page"
    unsaid = Asked.of({"since": "2026-11-26T12:00"})
    assert unsaid.wanted("Europe/Amsterdam").since == datetime(2026, 11, 26, 11, tzinfo=UTC)
    assert Asked.of({"since": "2026-11-26T12:00", "tz": "../../etc"}).is_wrong, "it would drop others"
    assert not Asked.of({"tz": "Europe/Amsterdam"}).fields, "nothing is asked for"
