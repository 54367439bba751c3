"""The client of SMTPeter's API, against the fake: faults end in success or in a sentence, and no token shows."""

import json
import logging
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from ingest.copernica.api.answers import Form
from ingest.copernica.logfiles.kinds import KINDS
from ingest.copernica.logfiles.reader import Entry, read
from ingest.copernica.logfiles.rows import Damage
from ingest.copernica.smtpeter import events
from ingest.copernica.smtpeter.client import By, Criterion, SMTPeter
from ingest.copernica.smtpeter.events import Told
from ingest.errors import InvalidToken, NotFound, RequestRejected, RestError, SettingsError
from ingest.simulation.api_faults import Fault, Faults
from ingest.simulation.fake_api import FakeCopernica
from tests.support.fake_copernica import HASTY, serving
from tests.support.fake_smtpeter import PATIENT, SMTPETER_TOKEN, client, fake_smtpeter, written

DAY = "2026-11-20"
OPENS = f"opens.{DAY}.log"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "logfiles"
    lines = [{"id": f"m{number % 10}", "recipient": "A@example.nl", "tags": "a;b/c"} for number in range(300)]
    written(folder, "opens", DAY, lines)
    written(folder, "failures", DAY, [{"id": "m1", "recipient": "b@example.nl", "code": "550", "templateid": "7"}])
    written(folder, "clicks", "2026-10-20", [{"id": "m1", "url": "https://example.nl/?a=1&b=2"}])
    written(folder, "cdm-click", DAY, [])
    return folder


def fake(folder: Path, plan: str = "") -> FakeCopernica:
    return FakeCopernica(folder, "another-token", Faults(plan))


def told(path: Path) -> list[Told | Damage]:
    with path.open("rb") as stream:
        return list(events.read(stream))


async def test_days_and_files_are_listed(folder: Path) -> None:
    with fake_smtpeter(fake(folder)) as environ:
        async with client(environ) as smtpeter:
            assert await smtpeter.dates() == [date(2026, 10, 20), date(2026, 11, 20)]
            names = await smtpeter.logfiles(date(2026, 11, 20), ["opens", "failures", "bounces"])
            assert names == [f"failures.{DAY}.log", OPENS]
            assert await smtpeter.logfiles(date(2026, 11, 19), ["opens"]) == []
            with pytest.raises(NotFound, match="no such thing"):
                await smtpeter.download(f"opens.{DAY[:-1]}1.log", folder / "got")
            with pytest.raises(NotFound, match="Not the name"):
                await smtpeter.download("../identity", folder / "got")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('["x"]', "unexpected answer .* check INGEST_SMTPETER_URL"),
        ('{"a": 1}', "unexpected answer .* check INGEST_SMTPETER_URL"),
        ("x", "unexpected answer .* check INGEST_SMTPETER_URL"),
        ('{"error": {"message": "not today"}}', "declines to list .* not today"),
    ],
)
async def test_an_answer_that_is_no_list_is_said_with_what_to_check(body: str, said: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=body)

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    with serving(app) as url:
        async with SMTPeter("token", url, policy=PATIENT) as smtpeter:
            for call in smtpeter.dates(), smtpeter.logfiles(date(2026, 11, 20), ["opens"]):
                with pytest.raises(RequestRejected, match=said):
                    await call


@pytest.mark.parametrize("form", ["csv", "json", "xml"])
async def test_a_file_says_the_same_in_each_form(folder: Path, tmp_path: Path, form: Form) -> None:
    path = tmp_path / "got"
    with fake_smtpeter(fake(folder)) as environ:
        async with client(environ) as smtpeter:
            assert await smtpeter.download(f"failures.{DAY}.log", path, form=form) == path.stat().st_size
    with path.open("rb") as stream:
        (entry,) = list(read(stream, KINDS["failures"]))
    assert isinstance(entry, Entry)
    assert (entry.event.message_id, entry.event.recipient, entry.event.code) == ("m1", "b@example.nl", 550)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (Criterion(By.MESSAGE, "m1"), {"open": 30, "failure": 1}),
        (Criterion(By.RECIPIENT, " a@EXAMPLE.nl "), {"open": 300}),
        (Criterion(By.TEMPLATE, "7"), {"failure": 1}),
        (Criterion(By.TAGS, "a; b/c"), {"open": 300}),
        (Criterion(By.MESSAGE, "m1", tags="a"), {"open": 30}),
        (Criterion(By.MESSAGE, "m1/../m2?start=2020-01-01#x%2F"), {}),
    ],
)
async def test_events_are_asked_for_by_a_criterion(
    folder: Path, tmp_path: Path, criterion: Criterion, expected: dict[str, int]
) -> None:
    state, path = fake(folder), tmp_path / "got"
    with fake_smtpeter(state) as environ:
        async with client(environ) as smtpeter:
            await smtpeter.events(criterion, date(2026, 11, 1), date(2026, 11, 21), path)
    found = told(path)
    assert Counter(one.type.value for one in found if isinstance(one, Told)) == expected
    assert len(found) == sum(expected.values())
    (seen,) = state.seen
    path_seen, _, query = seen.partition("?")
    assert path_seen.count("/") == 4 + len([one for one in path_seen.split("%2F")[1:] if "/" in one])
    assert query.startswith("start=2026-11-01&end=2026-11-21")


@pytest.mark.parametrize("value", ["", "  ", ".", "..", "a\nb", "a\x00b", "a" * 1001, "\udcff"])
def test_what_cannot_be_asked_for_is_said(value: str) -> None:
    for by in By:
        with pytest.raises(SettingsError):
            _ = Criterion(by, value).path


def test_entries_that_say_nothing_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "answer"
    path.write_text(
        json.dumps(
            [
                {"event": "OPEN", "data": {"id": 1, "time": None}},
                {"event": "party", "data": {"id": "m"}},
                {"event": "click", "data": None},
                {"event": "click", "data": []},
                {"data": {"id": "m"}},
                {"event": "click", "data": "{"},
                {"event": "responses", "data": {"id": "m", "deep": {"a": ["b"]}}},
            ]
        )
    )
    found = told(path)
    assert [one.kind.prefix if isinstance(one, Told) else "" for one in found] == [
        *("opens", "", "", "", "", "", "responses")
    ]
    path.write_bytes(b"[]")
    assert told(path) == []


# --- the token ---

SPELLINGS = (SMTPETER_TOKEN, quote(SMTPETER_TOKEN), quote(SMTPETER_TOKEN, safe=""), "geheim")


def shows(text: str) -> bool:
    return any(spelling.lower() in text.lower() for spelling in SPELLINGS)


class Everything(logging.Handler):
    """Keeps what any logger says, at any level."""

    def __init__(self) -> None:
        super().__init__(1)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"{record.getMessage()} {record.args!r} {record.exc_info!r}")


@contextmanager
def listening() -> Iterator[list[str]]:
    everything = Everything()
    root, aiohttp_log = logging.getLogger(), logging.getLogger("aiohttp")
    levels = root.level, aiohttp_log.level
    root.addHandler(everything)
    root.setLevel(1)
    aiohttp_log.setLevel(1)
    try:
        yield everything.said
    finally:
        root.removeHandler(everything)
        root.setLevel(levels[0])
        aiohttp_log.setLevel(levels[1])


def everything_about(error: BaseException | None) -> str:
    """An error with its causes and contexts, told or not, and the variables of all frames but the tests' own."""
    text = ""
    while error is not None:
        text += f"{''.join(traceback.format_exception(error))} {error!r} {error.args!r} {error.__dict__!r}"
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                text += repr(frame.f_locals)
        error = error.__cause__ or error.__context__
    return text


PASSING = ("429", "500", "503", "504", "html@smtpeter", "empty@smtpeter", "cut", "short", "moved", "slow")
LASTING = ("401", "403", "429*9", "500*9", "504*9", "html*9", "empty*9", "cut*9", "short*9", "moved*9")
ELSEWHERE = "elsewhere"


@pytest.mark.parametrize("plan", [*PASSING, *LASTING, ELSEWHERE])
async def test_no_fault_lets_anything_show_the_token(folder: Path, tmp_path: Path, plan: str) -> None:
    state = fake(folder, plan)
    traced: list[str] = []
    with fake_smtpeter(state) as environ, listening() as said:
        async with client(environ, HASTY if plan.startswith("slow") else PATIENT) as smtpeter:
            trace(smtpeter, traced)
            if plan in PASSING:
                await smtpeter.download(OPENS, tmp_path / "got")
                assert (tmp_path / "got").read_bytes() == (folder / OPENS).read_bytes()
            else:
                with pytest.raises(RestError, match=r"\.$") as raised:
                    await smtpeter.download(OPENS, tmp_path / "got")
                assert not shows(everything_about(raised.value))
            assert not shows(repr(vars(smtpeter._transport)["_session"]))
        assert state.seen, "it was asked"
        assert all(f"access_token={quote(SMTPETER_TOKEN, safe='')}" in seen for seen in state.seen)
    assert traced, "a library that traces requests was told of them"
    assert not shows("\n".join((*said, *traced)))


def trace(smtpeter: SMTPeter, told: list[str]) -> None:
    """As libraries for tracing do: be told of every step of a request."""
    config = aiohttp.TraceConfig()

    async def tell(_session: aiohttp.ClientSession, _context: object, about: object) -> None:
        told.append(f"{about!r} {getattr(about, 'response', '')!r}")

    for name in dir(config):
        if name.startswith("on_"):
            getattr(config, name).append(tell)
    config.freeze()
    smtpeter._transport._session.trace_configs.append(config)


async def test_an_answer_has_no_token_in_any_of_its_parts(folder: Path) -> None:
    with fake_smtpeter(fake(folder)) as environ:
        async with client(environ) as smtpeter:
            session = smtpeter._transport._session
            async with session.get(f"{environ['INGEST_SMTPETER_URL']}/logfiles") as response:
                assert response.status == 200
                parts = response.url, response.real_url, response.request_info, response.history, response
                assert not shows(repr(parts))
                response.status = 500
                with pytest.raises(aiohttp.ClientResponseError) as raised:
                    response.raise_for_status()
                assert not shows(everything_about(raised.value))


@pytest.mark.parametrize("plan", ["401", "403"])
async def test_a_token_that_is_not_accepted_is_said_at_once(folder: Path, plan: str) -> None:
    state = fake(folder)
    with fake_smtpeter(state) as environ:
        async with client(environ | {"INGEST_SMTPETER_TOKEN": "another"}) as smtpeter:
            with pytest.raises(InvalidToken, match="INGEST_SMTPETER_TOKEN") as raised:
                await smtpeter.dates()
    assert "another" not in str(raised.value)
    assert len(state.seen) == 1


async def test_a_refusal_that_repeats_the_token_is_told_without_it(folder: Path, tmp_path: Path) -> None:
    state = fake(folder)
    path = folder / OPENS
    with fake_smtpeter(state) as environ:
        async with client(environ) as smtpeter:
            message = {
                "error": {"message": f"no quota for {SMTPETER_TOKEN} or {quote(SMTPETER_TOKEN, safe='&=')}"}
            }
            path.write_text(json.dumps(message))
            with pytest.raises(RequestRejected, match=r"no quota for \*\*\* or \*\*\*") as raised:
                await smtpeter.download(OPENS, tmp_path / "got", form="csv")
    assert not shows("".join(traceback.format_exception(raised.value)))


def test_every_fault_of_the_fake_is_tried() -> None:
    tried = {plan.partition("*")[0].partition("@")[0] for plan in (*PASSING, *LASTING, ELSEWHERE)}
    about_pages = {Fault.NO_ROWS, Fault.REMOVED, Fault.INSERTED, Fault.LIES, Fault.STRINGS, Fault.NUMBERS}
    assert set(Fault) - tried - about_pages == {Fault.OK, Fault.EXPIRED, Fault.NULL, Fault.BLANK}
