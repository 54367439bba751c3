"""The client of Copernica's REST API, against the fake: every fault ends in success or in one clear sentence."""

import asyncio
import csv
import gzip
import io
import json
import logging
import time
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from xml.etree import ElementTree

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.copernica.api import logfile_calls, webhook_calls
from ingest.copernica.api.answers import Form
from ingest.copernica.api.auth import DEFAULT_LIFETIME, Access, lifetime_of
from ingest.copernica.api.retry import RetryPolicy, TemporaryFailure
from ingest.copernica.api.retry_after import seconds_to_wait
from ingest.copernica.api.webhooks import Webhook
from ingest.errors import (
    Forbidden,
    InvalidToken,
    NotFound,
    OutcomeUnknown,
    RequestRejected,
    RestError,
    SettingsError,
    Unavailable,
    Unreachable,
)
from ingest.simulation.api_faults import Fault, Faults, Kind
from ingest.simulation.api_files import FORMS, NOT_XML
from ingest.simulation.fake_api import FakeCopernica
from tests.support.fake_copernica import (
    HASTY,
    TOKEN,
    client,
    client_at,
    fake_copernica,
    log_file,
    scripted,
    serving,
)
from tests.support.running import PATIENCE

DAY = date(2026, 11, 20)
CLICKS = "cdm-click.2026-11-20.log"
#: Rows of a file that takes more than one block to send.
MANY = 3000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "logfiles"
    folder.mkdir()
    log_file(folder, CLICKS, MANY)
    log_file(folder, "cdm-impression.2026-11-20.log")
    log_file(folder, "pom-clicks.2026-11-19.log")
    (folder / "notes.log").write_text("no log file")
    return folder


def fake(folder: Path, plan: str = "", **options: object) -> FakeCopernica:
    return FakeCopernica(folder, TOKEN, Faults(plan), **options)  # type: ignore[arg-type]


def one_sentence(error: BaseException) -> str:
    said = str(error)
    assert said.endswith(".")
    assert said.isprintable()
    assert len(said) < 400
    assert TOKEN not in said
    return said


async def test_the_account_and_the_days_of_log_files_are_fetched(folder: Path) -> None:
    with fake_copernica(fake(folder)) as environ:
        async with client(environ) as copernica:
            assert (await copernica.identity())["id"] == "1234"
            assert await copernica.dates() == [date(2026, 11, 19), DAY]


@pytest.mark.parametrize("by_kind", ["there", "ignored", "refused"])
@pytest.mark.parametrize("by_day", ["there", "ignored", "refused"])
async def test_a_days_files_are_listed_in_whichever_way_exists(folder: Path, by_kind: str, by_day: str) -> None:
    state = fake(folder, by_kind=by_kind, by_day=by_day)
    with fake_copernica(state) as environ:
        async with client(environ) as copernica:
            if "there" in (by_kind, by_day):
                assert await copernica.logfiles(DAY, ["cdm-click", "cdm-error"]) == [CLICKS]
                assert await copernica.logfiles(date(2026, 11, 18), ["cdm-click"]) == []
            else:
                with pytest.raises(RequestRejected) as refused:
                    await copernica.logfiles(DAY, ["cdm-click", "cdm-error"])
                one_sentence(refused.value)
    assert any(seen.startswith("GET /logfiles/2026") for seen in state.seen) == (by_kind != "there")


@pytest.mark.parametrize("form", ["csv", "json", "xml"])
async def test_a_file_is_downloaded_in_each_form(folder: Path, tmp_path: Path, form: Form) -> None:
    told: list[tuple[int, int | None]] = []
    path = tmp_path / "got"
    with fake_copernica(fake(folder)) as environ:
        async with client(environ) as copernica:
            size = await copernica.download(CLICKS, path, lambda done, total: told.append((done, total)), form)
    content = path.read_bytes()
    assert len(content) == size == told[-1][0]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[0] == (0, size if form == "csv" else None)
    if form == "csv":
        assert content == (folder / CLICKS).read_bytes()
    elif form == "json":
        assert json.loads(content)[MANY - 1]["header"] == 'Host: é\nReferer: "<&>\r\n'
    else:
        assert len(ElementTree.fromstring(content)) == MANY


PASSING = ["cut", "short", "slow", "expired", "401", "429", "500", "503", "cut,short,cut", "expired,cut,500"]


# JSON comes in chunks, without a Content-Length.
@pytest.mark.parametrize(
    ("plan", "form"),
    [
        *((plan, "csv") for plan in (*PASSING, "500@token,cut@token,429@token", "expired@token")),
        ("cut", "json"),
        ("short", "json"),
    ],
)
async def test_a_download_survives_every_temporary_fault(
    folder: Path, tmp_path: Path, plan: str, form: Form
) -> None:
    told: list[int] = []
    path = tmp_path / "out" / "got"
    path.parent.mkdir()
    state = fake(folder, plan if "@" in plan else plan.replace(",", "@download,") + "@download")
    with fake_copernica(state) as environ:
        async with client(environ) as copernica:
            await copernica.download(CLICKS, path, lambda done, _: told.append(done), form)
    assert path.read_bytes() == b"".join(FORMS["csv/header" if form == "csv" else form](folder / CLICKS))
    assert list(path.parent.iterdir()) == [path]
    assert state.faults.left == 0
    broken_off = sum(plan.split(",").count(fault) for fault in ("cut", "short", "slow"))
    assert told.count(0) == 1 + broken_off


@pytest.mark.parametrize("plan", PASSING)
async def test_a_listing_survives_every_temporary_fault(folder: Path, plan: str) -> None:
    state = fake(folder, plan.replace(",", "@logfiles,") + "@logfiles")
    with fake_copernica(state) as environ:
        async with client(
            environ, RetryPolicy(attempts=4, first_pause=0.001, max_retry_after=0.01, answer_timeout=0.5)
        ) as copernica:
            assert await copernica.dates() == [date(2026, 11, 19), DAY]
    assert state.faults.left == 0


@pytest.mark.parametrize(
    ("plan", "error", "says"),
    [
        ("cut*9@download", Unreachable, "connection was cut, tried 4 times"),
        ("short*9@download", Unreachable, "connection was cut"),
        ("slow*9@download", Unreachable, "no answer in time"),
        ("500*9@download", Unreachable, "status 500"),
        ("429*9@download", Unreachable, "status 429"),
        ("500*9@token", Unreachable, "status 500 at 127.0.0.1"),
        ("cut*9@token", Unreachable, "cut at 127.0.0.1"),
        ("401*9@download", InvalidToken, "COPERNICA_TOKEN"),
        ("403@download", Forbidden, "COPERNICA_TOKEN"),
        ("403@token", InvalidToken, "COPERNICA_TOKEN"),
    ],
)
async def test_a_fault_that_lasts_is_one_sentence_and_leaves_what_was_there(
    folder: Path, tmp_path: Path, plan: str, error: type[RestError], says: str
) -> None:
    path = tmp_path / "out" / "got"
    path.parent.mkdir()
    path.write_text("of yesterday")
    state = fake(folder, plan)
    with fake_copernica(state) as environ:
        async with client(environ) as copernica:
            with pytest.raises(error) as raised:
                await copernica.download(CLICKS, path)
    assert says in one_sentence(raised.value)
    assert path.read_text() == "of yesterday"
    assert list(path.parent.iterdir()) == [path]
    if plan.startswith("401"):
        assert [seen.split()[0] for seen in state.seen] == ["POST", "GET", "POST", "GET"]


async def test_a_download_that_takes_too_long_in_all_is_given_up(folder: Path, tmp_path: Path) -> None:
    policy = RetryPolicy(download_timeout=0.3, silence_timeout=10.0)
    with fake_copernica(fake(folder, "slow*9@download")) as environ:
        async with client(environ, policy) as copernica:
            with pytest.raises(Unreachable, match=r"did not send cdm-click.* in 0 minutes") as raised:
                await copernica.download(CLICKS, tmp_path / "got")
    one_sentence(raised.value)
    assert not list(tmp_path.glob("got*"))


async def test_a_download_that_is_cancelled_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    with fake_copernica(fake(folder, "slow*9@download")) as environ:
        async with client(environ) as copernica:
            loading = asyncio.create_task(copernica.download(CLICKS, tmp_path / "got"))
            async with asyncio.timeout(PATIENCE):
                while not list(tmp_path.glob("got*")):
                    await asyncio.sleep(0.01)
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
    assert not list(tmp_path.glob("got*"))


async def test_a_file_that_cannot_be_written_is_not_asked_for_again(folder: Path, tmp_path: Path) -> None:
    state = fake(folder)
    with fake_copernica(state) as environ:
        async with client(environ) as copernica:
            with pytest.raises(Unavailable, match="No such file or directory") as raised:
                await copernica.download(CLICKS, tmp_path / "nowhere" / "got")
    one_sentence(raised.value)
    assert len(state.seen) == 2


@pytest.mark.parametrize("name", ["../etc/passwd", "cdm-click.2026-11-20.log/../x", "x", "a\n.2026-11-20.log", ""])
async def test_a_name_that_is_not_plain_goes_nowhere(folder: Path, tmp_path: Path, name: str) -> None:
    state = fake(folder)
    with fake_copernica(state) as environ:
        async with client(environ) as copernica:
            with pytest.raises(NotFound):
                await copernica.download(name, tmp_path / "got")
            with pytest.raises(NotFound, match="such thing"):
                await copernica.download("cdm-click.2026-11-18.log", tmp_path / "got")
    assert len(state.seen) == 2


async def test_a_large_download_stays_out_of_memory(folder: Path, tmp_path: Path) -> None:
    size = 40_000_000
    with (folder / "cdm-abuse.2026-11-20.log").open("wb") as file:
        file.write(b"id,time\n")
        file.truncate(size)
    with fake_copernica(fake(folder)) as environ:
        async with client(environ) as copernica:
            await copernica.dates()
            tracemalloc.start()
            assert await copernica.download("cdm-abuse.2026-11-20.log", tmp_path / "got") == size
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peak < 8_000_000


async def test_many_calls_at_once_need_one_exchange_and_one_more_after_a_401(folder: Path) -> None:
    state = fake(folder)
    with fake_copernica(state) as environ:
        async with client(environ) as copernica:
            await asyncio.gather(*(copernica.dates() for _ in range(20)))
            assert state.seen.count("POST /") == 1
            state.access.clear()
            await asyncio.gather(*(copernica.dates() for _ in range(20)))
            assert state.seen.count("POST /") == 2


async def test_a_late_401_does_not_discard_access_that_was_renewed(folder: Path) -> None:
    state = fake(folder)
    with fake_copernica(state) as environ:
        async with aiohttp.ClientSession() as session:
            access = Access(session, TOKEN, environ["COPERNICA_AUTH_URL"], HASTY.for_answers)
            old = await access.token()
            access.forget(old)
            fresh = await access.token()
            access.forget(old)
            assert await access.token() == fresh != old


class Clock:
    """Stands in for the module `time` where access grows old."""

    def __init__(self) -> None:
        self.later = 0.0

    def time(self) -> float:
        return time.time() + self.later

    def monotonic(self) -> float:
        return time.monotonic() + self.later


async def test_access_is_renewed_before_it_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("ingest.copernica.api.auth.time", clock)
    state = fake(folder, life=100_000.0)
    with fake_copernica(state) as environ:
        async with client(environ) as copernica:
            await copernica.dates()
            clock.later = 90_000.0
            await copernica.dates()
            assert state.seen == ["POST /", "GET /logfiles", "GET /logfiles"]
            clock.later = 99_800.0
            await copernica.dates()
    assert state.seen[3:] == ["POST /", "GET /logfiles"]


def test_the_life_of_access_is_read_without_trusting_our_clock() -> None:
    assert lifetime_of("x.eyJleHAiOjEwMDAwLCJpYXQiOjQwMDB9.x", now=99_999.0) == 6000
    assert lifetime_of("x.eyJleHAiOjEwMDAwfQ.x", now=9000.0) == 1000
    for odd in ("", "abc", "a.b.c", "a.bnVsbA.c", "a.eyJleHAiOiJ4In0.c", "a.eyJleHAiOjEwMDAwfQ.c"):
        assert lifetime_of(odd, now=20_000.0) == DEFAULT_LIFETIME


async def test_a_wrong_token_is_reported_and_never_shown(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    state = fake(folder, "500@token")
    with fake_copernica(state) as environ:
        async with client(environ | {"COPERNICA_TOKEN": "wrong-token"}) as copernica:
            with pytest.raises(InvalidToken, match="check COPERNICA_TOKEN") as raised:
                await copernica.dates()
        async with client(environ) as copernica:
            await copernica.dates()
    for secret in ("wrong-token", TOKEN, *state.access):
        assert secret not in caplog.text + one_sentence(raised.value)
    assert "status 500 at 127.0.0.1; trying again in" in caplog.text


@pytest.mark.parametrize("access", ["abc", ' "abc"\n', "\nabc\r\n"])
async def test_an_access_token_is_understood_with_blanks_and_quotes(access: str) -> None:
    def answer(request: web.Request) -> web.Response:
        return web.json_response([request.path] if request.headers["Authorization"] == "Bearer abc" else None)

    with serving(scripted(answer, access)) as url:
        async with client_at(url) as copernica:
            with pytest.raises(RequestRejected, match="unexpected answer"):  # it is no list of days, but it came
                await copernica.dates()


@pytest.mark.parametrize("access", ["", "<html>log in</html>", "a b", "x" * 10 + "\r\nHost: evil"])
async def test_what_is_no_access_token_is_not_used(access: str) -> None:
    with serving(scripted(lambda _: web.json_response([]), access)) as url:
        async with client_at(url) as copernica:
            with pytest.raises(RequestRejected, match="check COPERNICA_AUTH_URL") as raised:
                await copernica.dates()
    one_sentence(raised.value)


async def test_names_that_are_not_of_that_day_and_kind_are_left_out() -> None:
    hostile = ["../../etc/cron.2026-11-20.log", f"/x/{CLICKS}", f"{CLICKS}\n", f"..{CLICKS}", 7, None, {"a": 1}]
    names = [*hostile, CLICKS, "cdm-click.2026-11-21.log", "cdm-click-old.2026-11-20.log", CLICKS]
    with serving(scripted(lambda _: web.json_response(names))) as url:
        async with client_at(url) as copernica:
            assert await copernica.logfiles(DAY, ["cdm-click"]) == [CLICKS]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (
            web.json_response,
            RequestRejected,
            r"declines to list the days of log files \(status 400\), saying: No, .",
        ),
        (web.Response, RequestRejected, r"\(status 400\)\.$"),
        (lambda **_: web.Response(status=302, headers={"Location": "/x"}), RequestRejected, "one address to the"),
        (lambda **_: web.Response(status=302), RequestRejected, "redirect"),
        (lambda **_: web.Response(text="no"), RequestRejected, "check COPERNICA_API_URL"),
        (lambda **_: web.Response(text="<html>"), Unreachable, "a page of HTML"),
    ],
)
async def test_a_refusal_of_copernica_is_shown_short_and_clean(
    answer: Callable[..., web.Response], error: type[RestError], says: str
) -> None:
    def refuse(_request: web.Request) -> web.Response:
        body = {"error": {"message": f"No,\x1b[31m\n {TOKEN} and abc " + "x" * 5000}}
        return answer(status=400, **({"data": body} if answer is web.json_response else {}))

    with serving(scripted(refuse)) as url:
        async with client_at(url) as copernica:
            with pytest.raises(error, match=says) as raised:
                await copernica.dates()
    assert "abc" not in one_sentence(raised.value)


async def test_no_more_calls_are_under_way_than_allowed() -> None:
    app = web.Application()
    under_way, most, begun = 0, 0, 0

    async def slow(_request: web.Request) -> web.Response:
        """Answers when as many others are under way as there may be, or no further one is to come."""
        nonlocal under_way, most, begun
        begun += 1
        under_way += 1
        most = max(most, under_way)
        async with asyncio.timeout(PATIENCE):
            while under_way < 3 and begun < 12:
                await asyncio.sleep(0.001)
        under_way -= 1
        return web.json_response([])

    async def exchange(_request: web.Request) -> web.Response:
        return web.Response(text="abc")

    app.router.add_post("/", exchange)
    app.router.add_get("/{rest:.+}", slow)
    with serving(app) as url:
        environ = {"COPERNICA_API_URL": url, "COPERNICA_AUTH_URL": url, "COPERNICA_TOKEN": TOKEN}
        async with client(environ, concurrency=3) as copernica:
            await asyncio.gather(*(copernica.dates() for _ in range(12)))
    assert most == 3


async def test_an_api_that_does_not_answer_is_one_sentence() -> None:
    environ = {"COPERNICA_API_URL": "http://127.0.0.1:1", "COPERNICA_AUTH_URL": "http://127.0.0.1:1"}
    async with client(environ | {"COPERNICA_TOKEN": TOKEN}) as copernica:
        with pytest.raises(Unreachable, match="no connection: ") as raised:
            await copernica.dates()
    one_sentence(raised.value)


async def test_retry_after_is_obeyed_within_bounds(folder: Path) -> None:
    with fake_copernica(fake(folder, "429@logfiles")) as environ:
        async with client(environ, RetryPolicy(first_pause=0.001, max_retry_after=0.05)) as copernica:
            began = time.monotonic()
            await copernica.dates()
    assert time.monotonic() - began >= 0.05
    policy = RetryPolicy(max_retry_after=300.0)
    assert policy.backoff(TemporaryFailure("busy", 7.0)) == 7.0
    assert policy.backoff(TemporaryFailure("busy", 1e9)) == 300.0
    assert policy.backoff(TemporaryFailure("cut")) is True
    assert policy.backoff(Forbidden()) is False


def test_retry_after_is_seconds_or_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert seconds_to_wait(" 120 ") == 120
    assert 28 < (seconds_to_wait(soon) or 0) <= 30
    assert seconds_to_wait("Fri, 20 Nov 2020 09:00:00 GMT") == 0
    assert 28 < (seconds_to_wait(soon.replace("GMT", "-0000")) or 0) <= 30
    assert [seconds_to_wait(odd) for odd in (None, "", "soon", "-1", "1e9", "٣")] == [None] * 6


async def test_webhooks_are_made_changed_listed_and_deleted(folder: Path) -> None:
    with fake_copernica(fake(folder)) as environ:
        async with client(environ) as copernica:
            assert await copernica.webhooks() == []
            made = await copernica.create_webhook("https://example.nl/c", "update", ["ms"], 12, 34)
            other = await copernica.create_webhook("https://example.nl/c", "open")
            assert await copernica.webhooks() == [
                Webhook(made, "https://example.nl/c", "update", ("ms",), 12, 34),
                Webhook(other, "https://example.nl/c", "open", ("ms", "publisher")),
            ]
            await copernica.update_webhook(made, trigger="delete")
            await copernica.delete_webhook(other)
            assert [hook.trigger for hook in await copernica.webhooks()] == ["delete"]
            await copernica.delete_webhook(other)  # it has already been removed
            with pytest.raises(RequestRejected, match="No webhook with supplied ID"):
                await copernica.delete_webhook("99")
            with pytest.raises(NotFound):
                await copernica.delete_webhook("../identity")
            with pytest.raises(RequestRejected, match="Invalid trigger"):
                await copernica.create_webhook("https://example.nl/c", "dance")


async def test_changes_are_understood_as_version_3_answers_them(folder: Path) -> None:
    state = fake(folder, manners="seen")
    with fake_copernica(state) as environ:
        async with client(environ) as copernica:
            made = await copernica.create_webhook("https://example.nl/c", "open")
            assert made == "1"
            await copernica.update_webhook(made, trigger="click")
            assert state.webhooks[1]["trigger"] == "click"
            await copernica.delete_webhook(made)
            await copernica.delete_webhook(made)
    assert state.webhooks == {}


async def test_a_change_does_not_lift_a_limit(folder: Path) -> None:
    """What a PUT does not name, Copernica sets to all there is."""
    state = fake(folder)
    with fake_copernica(state) as environ:
        async with client(environ) as copernica:
            made = await copernica.create_webhook("https://example.nl/c", "open", ["ms"], 12)
            await copernica.update_webhook(made, trigger="click")
            assert await copernica.webhooks() == [Webhook(made, "https://example.nl/c", "click", ("ms",), 12)]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_question_follows_redirects_on_the_same_server_only(status: int) -> None:
    seen: list[tuple[str, str | None]] = []

    def elsewhere(request: web.Request) -> web.Response:
        seen.append((request.path_qs, request.headers.get("Authorization")))
        return web.json_response({"id": "stolen"})

    with serving(scripted(elsewhere)) as other:
        places = {
            "/v4/identity": "/v5/identity?a=b",
            "/v5/identity?a=b": None,
            "/v4/logfiles": f"{other}/logfiles",
        }

        def here(request: web.Request) -> web.Response:
            place = places[request.path_qs]
            if place is None:
                return web.json_response({"id": "1234"})
            return web.Response(status=status, headers={"Location": place})

        with serving(scripted(here)) as url:
            async with client_at(url) as copernica:
                assert (await copernica.identity())["id"] == "1234"
                with pytest.raises(RequestRejected, match="another server") as raised:
                    await copernica.dates()
                one_sentence(raised.value)
    assert seen == []


@pytest.mark.parametrize(
    "location",
    ["//evil.example/x", "http://user@127.0.0.1/", "ftp://x/", "", "http://[", "/identity", "javascript:1"],
)
async def test_no_redirect_leads_astray(location: str) -> None:
    answer = web.Response(status=301, headers={"Location": location})
    with serving(scripted(lambda _: web.Response(status=301, headers=answer.headers))) as url:
        async with client_at(url) as copernica:
            with pytest.raises(RequestRejected) as raised:
                await copernica.identity()
    one_sentence(raised.value)


async def test_a_change_is_not_made_where_a_redirect_leads() -> None:
    asked: list[str] = []

    def here(request: web.Request) -> web.Response:
        asked.append(request.method)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    with serving(scripted(here)) as url:
        async with client_at(url) as copernica:
            with pytest.raises(RequestRejected):
                await copernica.create_webhook("https://example.nl/c", "open")
    assert asked == ["POST"]


# --- answers that are none ---


async def test_an_error_with_the_status_of_a_success_is_one() -> None:
    refusal = {"error": {"message": "Too tired \x1b[31m"}}
    with serving(scripted(lambda _: web.json_response(refusal))) as url:
        async with client_at(url) as copernica:
            with pytest.raises(RequestRejected, match="saying: Too tired") as raised:
                await copernica.identity()
    one_sentence(raised.value)


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("csv", b""),
        ("csv", b"\xef\xbb\xbf \r\n"),
        ("csv", b"<html><h1>Loadbalancer Error</h1></html>"),
        ("csv", b'{"error":{"message":"no"}}'),
        ("csv", b"something else\n"),
        ("json", b""),
        ("json", b'[{"time":"2026-11-20 09:00:00"},'),
        ("json", b'{"error":{"message":"no"}}'),
        ("xml", b""),
        ("xml", b"<!DOCTYPE html><html></html>"),
        ("xml", b"<records><record><time>2026-11-20 09:00:00</time></record>"),
    ],
)
async def test_a_file_that_is_none_is_not_downloaded(tmp_path: Path, form: Form, content: bytes) -> None:
    asked: list[str] = []

    def here(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=content)

    with serving(scripted(here)) as url:
        async with client_at(url) as copernica:
            with pytest.raises(Unreachable) as raised:
                await copernica.download(CLICKS, tmp_path / "got", form=form)
    one_sentence(raised.value)
    assert len(asked) == HASTY.attempts
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("csv", b"id,time,email\n"),
        ("csv", b"\xef\xbb\xbfid,time,email\r\n"),
        ("csv", b"5fd,2026-11-20 09:00:00,a@example.nl"),
        ("json", b"[]"),
        ("json", b'{"id":"1","time":"2026-11-20 09:00:00"}\n'),
        ("xml", b"<records/>"),
        ("xml", b"<?xml version='1.0'?>\n<records>\n</records>\n"),
    ],
)
async def test_a_day_without_events_is_a_file_all_the_same(tmp_path: Path, form: Form, content: bytes) -> None:
    with serving(scripted(lambda _: web.Response(body=content))) as url:
        async with client_at(url) as copernica:
            assert await copernica.download(CLICKS, tmp_path / "got", form=form) == len(content)


# --- hostile answers ---


def packed(encoding: str, size: int) -> Callable[[web.Request], web.Response]:
    """An answer of so many MiB that takes a thousandth of that on the way."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    body = b"".join([*(packer.compress(b"[" + b" " * 2**20) for _ in range(size)), packer.flush()])
    return lambda _: web.Response(body=body, headers={"Content-Encoding": encoding})


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_an_answer_that_explodes_takes_no_memory(tmp_path: Path, encoding: str) -> None:
    with serving(scripted(packed(encoding, 32))) as url:
        async with client_at(url) as copernica:
            tracemalloc.start()
            for call in (copernica.identity(), copernica.download(CLICKS, tmp_path / "got")):
                with pytest.raises(RequestRejected, match="too large") as raised:
                    await call
                one_sentence(raised.value)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert peak < 16 * 2**20
    assert list(tmp_path.iterdir()) == []


async def test_an_endless_answer_is_not_read_whole() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            for _ in range(400):
                await response.write(b"[" * 2**20)
        return response

    app = scripted(endless)
    with serving(app) as url:
        async with client_at(url) as copernica:
            with pytest.raises(RequestRejected, match="too large"):
                await copernica.identity()


async def test_a_list_without_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_calls, "MAX_WEBHOOKS", 50)

    def page(request: web.Request) -> web.Response:
        start = int(request.query["start"])
        return web.json_response({"data": [{"ID": str(start + number)} for number in range(20)]})

    with serving(scripted(page)) as url:
        async with client_at(url) as copernica:
            with pytest.raises(RequestRejected, match="unexpected answer"):
                await copernica.webhooks()


async def test_a_download_leaves_room_on_the_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile_calls, "LOOK_EVERY", 10)
    monkeypatch.setattr(logfile_calls, "MIN_FREE", 1 << 62)
    with fake_copernica(fake(folder)) as environ:
        async with client(environ) as copernica:
            with pytest.raises(Unavailable, match="make room first"):
                await copernica.download(CLICKS, tmp_path / "file")
    assert not (tmp_path / "file").exists()


async def test_an_answer_that_is_packed_unasked_is_read() -> None:
    body = gzip.compress(b'{"id": "1234"}')
    answer = {"Content-Encoding": "gzip"}
    with serving(scripted(lambda _: web.Response(body=body, headers=answer))) as url:
        async with client_at(url) as copernica:
            assert await copernica.identity() == {"id": "1234"}


@pytest.mark.parametrize("headers", [{"Content-Encoding": "br"}, {"Content-Encoding": "gzip"}])
async def test_an_answer_that_cannot_be_unpacked_is_a_failure(headers: dict[str, str]) -> None:
    with serving(scripted(lambda _: web.Response(body=b"\x1f\x8b{}", headers=headers))) as url:
        async with client_at(url) as copernica:
            with pytest.raises(Unreachable) as raised:
                await copernica.identity()
    one_sentence(raised.value)


@pytest.mark.parametrize("plan", ["429,503@webhooks", "expired"])
async def test_a_webhook_whose_creation_was_refused_is_created_once(folder: Path, plan: str) -> None:
    state = fake(folder, plan.replace(",", "@webhooks,"))
    with fake_copernica(state) as environ:
        async with client(environ) as copernica:
            await copernica.create_webhook("https://example.nl/c", "open")
    assert len(state.webhooks) == 1
    assert state.faults.left == 0


@pytest.mark.parametrize("plan", ["cut", "short", "slow", "500"])
async def test_a_webhook_whose_creation_is_uncertain_is_not_created_twice(folder: Path, plan: str) -> None:
    state = fake(folder, f"{plan}@webhooks")
    with fake_copernica(state) as environ:
        async with client(environ, RetryPolicy(answer_timeout=0.5)) as copernica:
            with pytest.raises(OutcomeUnknown, match="check what is there before you try again") as raised:
                await copernica.create_webhook("https://example.nl/c", "open")
    one_sentence(raised.value)
    assert len(state.webhooks) == (plan != "500")
    assert state.seen.count("POST /webhooks") == 1


async def test_lists_of_several_pages_are_read_whole(folder: Path) -> None:
    state = fake(folder)
    state.webhooks = {n: {"ID": str(n), "handler": "https://example.nl", "trigger": "open"} for n in range(2100)}
    with fake_copernica(state) as environ:
        async with client(environ) as copernica:
            assert [hook.id for hook in await copernica.webhooks()] == [str(n) for n in range(2100)]
    assert len(state.seen) == 6, "access, three pages, and two more to see that it ends there"


async def test_a_plain_array_of_webhooks_is_understood_and_ends() -> None:
    entries = [{"id": 5, "handler": "https://example.nl", "trigger": "open", "callers": None, "database": "0"}, 7]
    with serving(scripted(lambda _: web.json_response(entries))) as url:
        async with client_at(url) as copernica:
            assert await copernica.webhooks() == [Webhook("5", "https://example.nl", "open")]


def test_a_plan_of_faults_is_used_up_from_left_to_right() -> None:
    faults = Faults("429*2, cut@download,ok,500")
    assert [faults.next(Kind.DOWNLOAD) for _ in range(6)] == ["429", "429", "cut", "ok", "500", "ok"]
    faults = Faults("cut@download,500")
    assert [faults.next(Kind.LOGFILES), faults.left, faults.next(Kind.DOWNLOAD)] == ["500", 1, "cut"]
    for odd in ("418", "cut@nowhere", "cut*0", "cut*x", "*2"):
        with pytest.raises(SettingsError, match="is not a fault"):
            Faults(odd)
    some = [Faults(rate=0.5, seed=7).next(Kind.DOWNLOAD) for _ in range(3)]
    assert len(set(some)) == 1
    faults = Faults(rate=0.5, seed=7)
    assert {Fault.OK, Fault.CUT, Fault.TOO_MANY} <= {faults.next(Kind.LOGFILES) for _ in range(100)}


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(WORDS, WORDS), max_size=5))
def test_the_fake_says_the_same_in_every_form(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    path = tmp_path / "x.log"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "tags"), *rows])
    said = {form: b"".join(make(path)) for form, make in FORMS.items()}
    assert [tuple(row.values()) for row in json.loads(said["json"])] == rows
    plain = [tuple(NOT_XML.sub("\ufffd", value) for value in row) for row in rows]
    records = ElementTree.fromstring(said["xml"])
    assert [tuple(field.text or "" for field in record) for record in records] == plain
    assert [tuple(row) for row in csv.reader(io.StringIO(said["csv"].decode(), newline=""))] == rows
    assert said["csv/header"] == b"id,tags\r\n" + said["csv"]
