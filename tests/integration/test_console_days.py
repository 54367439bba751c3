"""The console's pages about completeness: the calendar, a day, gaps, and what is begun from them."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient
from markupsafe import escape

from ingest.console import completeness, tasks
from ingest.console.known_texts import DAY_CAUSES
from ingest.console.texts import translations
from ingest.jobs import RECONCILE_JOB, JobScheduler
from ingest.settings import Settings
from ingest.simulation.fake_api import FakeCopernica
from tests.support.console import console, csrf_of
from tests.support.fake_copernica import TOKEN, fake_copernica
from tests.support.gaps import keep_gap
from tests.support.logs import DAY, a_day, contents
from tests.support.totals import on_sqlite
from workers.gaps.gap import Cause, Cut, State
from workers.operations import audit
from workers.reconcile import history
from workers.reconcile.report import DayCause, DayReport, KindReport, Outage
from workers.store.store import Store
from workers.totals import history as totals_history
from workers.totals.report import KINDS, DayTotals, Line, Number

#: What a stranger may have put where we show something: as text in HTML, an attribute, or another direction.
NASTY = "<img src=x onerror=alert(1)>\"'\u202e\x1b[31m\x00"
#: What must not stand in a page, whatever it is about.
NEVER = ("<img src=x", "\u202e", "\x1b", "\x00")


@pytest.fixture
def environ(database: str) -> dict[str, str]:
    return {"DATABASE_URL": database, "REDIS_URL": "redis://127.0.0.1:1/0"}


async def ended(client: TestClient, path: str) -> tasks.Task:  # type: ignore[type-arg]
    """The task of a page, once it has ended."""
    task = tasks.find(client.app, path.rpartition("/")[2])
    assert task is not None, path
    async with asyncio.timeout(30):
        while task.ended_at is None:
            await asyncio.sleep(0.01)
    return task


async def text_of(client: TestClient, path: str, status: int = 200) -> str:  # type: ignore[type-arg]
    answer = await client.get(path)
    assert answer.status == status, path
    return await answer.text()


async def test_pages_say_what_to_do_where_nothing_is_known_yet(environ: dict[str, str]) -> None:
    async with console(environ) as client:
        calendar = await text_of(client, "/days")
        assert "set COPERNICA_TOKEN" in calendar
        assert calendar.count('data-day title="') == 1, "today alone"
        assert "lacks anything" not in calendar, "nothing was compared"
        assert "No gap is known." in await text_of(client, "/gaps")
        today = datetime.now(UTC).date()
        page = await text_of(client, f"/day/{today}")
        assert "There are no events of this day." in page
        assert "by itself" not in page, "not without a token"
        assert "There are no events of this day." in await text_of(client, "/day/0001-01-01")
        for wrong in ("2026-11-31", "x", "2026-1-1", f"{today + timedelta(days=1)}", "%00"):
            await text_of(client, f"/day/{wrong}", 404)
        for strange in ("?until=9999-99", "?until=0001-01", "?until=", "?until=%00", "?until=9999-12"):
            await text_of(client, f"/days{strange}")
        for strange in ("?before=1.x", "?before=" + "9" * 30 + ".a", "?before=%00", "?since=x&until=%00&unclosed"):
            await text_of(client, f"/gaps{strange}")


async def test_whatever_others_wrote_is_text(environ: dict[str, str], store: Store) -> None:
    report = DayReport(DAY, error=f"{NASTY} " + "x" * 100_000)
    report.kinds = [KindReport("open<b>", notes=[NASTY] * 30, in_log=3)]  # type: ignore[arg-type]
    report.outages = [Outage(1_795_132_800, 1_795_132_900, 3, {NASTY: 2, "y" * 5000: 1})]
    history.save(store, report, history.API)
    found = DayTotals(DAY, error=NASTY)
    totals_history.save(store, found)
    with store.writing() as connection:
        begin = 1_795_132_800_000_000
        details = {
            "error": NASTY.replace("\x00", ""),
            "by": NASTY[:9],
            "attempts": 3,
            "retry_at": begin,
            "ended": "odd",
        }
        for state in State:
            since, until = begin + len(state), None if state is State.OPEN else begin + 9_000_000
            Cut(since, Cause.NO_ENDPOINT, until, state, begin, details).put(store, connection)
    async with console(environ) as client:
        for path in ("/days", f"/day/{DAY}", "/gaps", "/gaps?unclosed=1"):
            text = await text_of(client, path)
            assert len(text) < 150_000
            for part in NEVER:
                assert part not in text, (path, part)


@on_sqlite
async def test_the_calendar_leads_past_months_of_which_nothing_is_known(
    environ: dict[str, str], store: Store
) -> None:
    history.save(store, DayReport(date(2019, 3, 5), whole=True), history.API)
    async with console(environ) as client:
        text = await text_of(client, "/days")
        assert text.count("data-day title=") == 1, "no years of unknown days"
        assert 'href="/days?until=2019-03" data-earlier' in text
        text = await text_of(client, "/days?until=2019-03")
        assert text.count("data-day title=") == 27, "from that day to the end of its month"
        assert "data-earlier" not in text
        today = datetime.now(UTC).date()
        assert f'href="/days?until={today:%Y-%m}" data-later' in text
        text = await text_of(client, "/days?until=2023-01")
        assert "data-day title=" not in text
        assert 'href="/days?until=2019-03" data-earlier' in text


@on_sqlite
async def test_a_day_shows_what_was_found_run_by_run(environ: dict[str, str], store: Store) -> None:
    failed = DayReport(DAY, error="Copernica does not answer.")
    history.save(store, failed, history.API)
    whole = DayReport(DAY, [KindReport("open", in_log=1200, in_store=1190, recovered=10)], whole=True)
    history.save(store, whole, history.API)
    found = DayTotals(DAY)
    found.lines = [
        Line("ms", 77, kind, Number(10, 9), Number(10 - missing, 9))
        for kind, missing in zip(KINDS, (0, 3), strict=False)
    ]
    totals_history.save(store, found)
    async with console(environ) as client:
        text = await text_of(client, f"/day/{DAY}")
        assert "1,190" in text
        assert "1 mailing differs" in text
        runs = [part.partition("#")[0] for part in text.split('href="')[1:] if part.startswith(f"/day/{DAY}?run=")]
        assert len(runs) == 2
        assert "This run compared nothing." in await text_of(client, runs[1])
        assert "1,190" in await text_of(client, f"/day/{DAY}?run=unknown")
        assert f'href="/day/{DAY}"' in await text_of(client, f"/days?until={DAY:%Y-%m}")


@on_sqlite
@pytest.mark.parametrize("cause", DayCause)
async def test_a_dutch_page_says_in_dutch_why_a_day_lacks_something(
    environ: dict[str, str], store: Store, cause: DayCause
) -> None:
    day = datetime.now(UTC).date() - timedelta(days=2)
    report = DayReport(day, error="HTTP 500", cause=cause, gone=cause is DayCause.GONE)
    if cause is DayCause.CUT_SHORT:
        report.error = history.CUT_SHORT
    elif cause is DayCause.UNMATCHED:
        report = DayReport(day, [KindReport("open", unmatched=3)], whole=True)
    history.save(store, report, history.API)
    said = escape(translations("nl").gettext(DAY_CAUSES[cause]))
    async with console(environ) as client:
        for path in ("/days", f"/day/{day}"):
            answer = await client.get(path, headers={"Accept-Language": "nl"})
            assert said in await answer.text(), path


@on_sqlite
async def test_gaps_are_shown_some_at_a_time(environ: dict[str, str], store: Store) -> None:
    for number in range(120):
        keep_gap(store, 1_795_132_800 + number * 1000, 1_795_132_900 + number * 1000)
    async with console(environ) as client:
        path, seen = "/gaps", 0
        while path:
            text = await text_of(client, path)
            seen += text.count("no endpoint took calls")
            older = text.partition("data-older")[0].rpartition('href="')[2] if "data-older" in text else ""
            path = older.partition('"')[0].replace("&amp;", "&")
        assert seen == 120
        assert "There are no older ones." in await text_of(client, "/gaps?before=1.a")


async def test_without_a_database_each_page_says_so(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": "postgresql://u:geheim123@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}
    async with console(environ) as client:
        for path in ("/days", f"/day/{DAY}", "/gaps"):
            text = await text_of(client, path, 503)
            assert "Not available now" in text
            assert "geheim123" not in text


@on_sqlite
async def test_nothing_is_begun_without_a_token_or_beside_a_worker_that_is_at_it(
    environ: dict[str, str], store: Store, redis_url: str, client: object
) -> None:
    async with console({**environ, "INGEST_SMTPETER_TOKEN": "x" * 20}) as visitor:
        csrf = csrf_of(await text_of(visitor, f"/day/{DAY}"))
        for path in (f"/day/{DAY}/totals", "/gaps/period", "/gaps/fill"):
            answer = await visitor.post(path, data={"_csrf": csrf}, allow_redirects=False)
            assert "said=no-token" in answer.headers["Location"], path
            assert (await visitor.post(path, data={})).status == 403
    async with console({**environ, "REDIS_URL": redis_url, "COPERNICA_TOKEN": "x" * 20}) as visitor:
        scheduler = JobScheduler(client)  # type: ignore[arg-type]
        assert scheduler.enqueue_reconcile("2026-11-26")
        (job,) = scheduler._events.jobs
        assert job.func_name == RECONCILE_JOB
        assert not scheduler.reconciles(), "it only waits"
        client.zadd(scheduler._events.started_job_registry.key, {f"{job.id}:1": time.time() + 60})  # type: ignore[attr-defined]
        assert scheduler.reconciles()
        csrf = csrf_of(await text_of(visitor, f"/day/{DAY}"))
        assert (await visitor.post("/day/0001-01-01/reconcile", data={"_csrf": csrf})).status == 404, "long gone"
        answer = await visitor.post(f"/day/{DAY}/reconcile", data={"_csrf": csrf}, allow_redirects=False)
        assert answer.headers["Location"] == f"/day/{DAY}?said=worker"
        for since, until, said in (
            ("x", "2026-11-20T10:00", "period"),
            ("2026-11-20T10:00", "2026-11-20T09:00", "period"),
            ("2026-11-01T10:00", "2026-11-20T09:00", "long"),
            ("9999-12-31T23:59", "9999-12-31T23:59:59", "period"),
        ):
            data = {"_csrf": csrf, "since": since, "until": until}
            answer = await visitor.post("/gaps/period", data=data, allow_redirects=False)
            assert f"said={said}" in answer.headers["Location"], since
        assert "That period is too long" in await text_of(visitor, "/gaps?said=long")
        assert audit.entries(store, 9) == []


@on_sqlite
async def test_a_day_is_compared_from_its_page_and_that_is_in_the_audit(
    environ: dict[str, str], store: Store, tmp_path: Path, redis_url: str
) -> None:
    happened = a_day(30)
    store.add([one.call(number) for number, one in enumerate(happened) if number % 3])
    for name, content in contents(happened).items():
        (tmp_path / name).write_bytes(content)
    fake = FakeCopernica(tmp_path, TOKEN)
    with fake_copernica(fake) as api:
        async with console({**environ, **api, "REDIS_URL": redis_url}) as client:
            csrf = csrf_of(await text_of(client, f"/day/{DAY}"))
            answer = await client.post(f"/day/{DAY}/reconcile", data={"_csrf": csrf}, allow_redirects=False)
            task = await ended(client, answer.headers["Location"])
            assert (task.state, task.error, sum(task.counts.values())) == ("done", None, 10)
            text = await text_of(client, f"/day/{DAY}")
            assert "Some of it did not come by webhook" in text
            (entry,) = audit.entries(store, 9)
            assert (entry.action, entry.affected, entry.what["day"]) == ("reconcile", 10, str(DAY))


async def test_what_was_begun_ends_when_it_is_asked_to(environ: dict[str, str], store: Store) -> None:
    reports: list[object] = []
    work = completeness.reconciling(
        Settings.read({**environ, "COPERNICA_TOKEN": "x" * 20, "COPERNICA_API_URL": "http://127.0.0.1:1"}),
        DAY,
        partial=False,
        everything=False,
        handlers=False,
    )
    counts = await asyncio.to_thread(work, lambda *one: reports.append(one), lambda: True)
    assert counts == {}
    assert history.tried(store) == {}, "a day whose run was stopped was not tried"


@on_sqlite
async def test_what_is_under_way_is_said_on_each_page_and_is_one(environ: dict[str, str], store: Store) -> None:
    stop = threading.Event()

    def work(report: tasks.Report, stopped: Callable[[], bool]) -> Mapping[str, int]:
        stop.wait(20)
        return {}

    async with console({**environ, "COPERNICA_TOKEN": "x" * 20}) as client:
        number = tasks.start(client.app, "reconcile", "jan", work, title="Tasks", what={"day": NASTY})
        for path in ("/days", f"/day/{DAY}", "/gaps"):
            text = await text_of(client, path)
            assert f'href="/task/{number}"' in text
            assert not any(part in text for part in NEVER)
        csrf = csrf_of(await text_of(client, f"/day/{DAY}"))
        answer = await client.post(f"/day/{DAY}/reconcile", data={"_csrf": csrf}, allow_redirects=False)
        assert answer.headers["Location"] == f"/task/{number}?busy=1"
        stop.set()
