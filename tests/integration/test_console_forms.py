"""Every form of the console, found by its own router: who may send it, and that what it does is in the audit.

A form that is added fails here until `FORMS` says how it is filled in.
"""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis
from aiohttp.test_utils import TestClient

from ingest.console import tasks
from ingest.console.access import ASKING, OWN_SESSION
from ingest.simulation.fake_api import FakeCopernica
from tests.support.console import console, csrf_of, sign_in
from tests.support.console_forms import (
    ALL,
    FORMS,
    HANDLERS,
    LETTER,
    PASSWORD,
    TASK,
    Form,
    address,
    fill,
)
from tests.support.console_routes import routes
from tests.support.fake_copernica import TOKEN, fake_copernica
from tests.support.sql import rows
from workers.operations import audit
from workers.store.store import Store

Client = TestClient[Any, Any]

READ_PASSWORD = "alleen-maar-kijken"
_FORM = re.compile(r'<form method="post"[^>]*action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)


@pytest.fixture
def database(sqlite_url: str) -> str:
    """SQLite: who may do what does not hang on the database."""
    return sqlite_url


@pytest.fixture
async def visited(
    sqlite_url: str,
    redis_url: str,
    store: Store,
    client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Client]:
    """A console in which each form has something to act upon."""
    (tmp_path / "handlers_of_forms.py").write_text(HANDLERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fill(store, client)
    (tmp_path / "logs").mkdir()
    with fake_copernica(FakeCopernica(tmp_path / "logs", TOKEN)) as copernica:
        environ = {
            "DATABASE_URL": sqlite_url,
            "REDIS_URL": redis_url,
            "INGEST_CONSOLE_PASSWORD": PASSWORD,
            "INGEST_CONSOLE_READ_PASSWORD": READ_PASSWORD,
            "INGEST_HANDLERS": "handlers_of_forms",
            **copernica,
        }
        async with console(environ) as visitor:
            monkeypatch.setattr(tasks, "token_hex", lambda _: TASK)
            tasks.start(visitor.app, "waiting", "jan", until_stopped)
            monkeypatch.undo()
            monkeypatch.setenv("PYTHONPATH", str(tmp_path))
            yield visitor


def until_stopped(_report: tasks.Report, stopped: Callable[[], bool]) -> Mapping[str, int]:
    while not stopped():
        threading.Event().wait(0.01)
    return {}


def done(store: Store) -> list[tuple[str, str]]:
    """Who did what, the task that is under way aside."""
    return [(one.who, one.action) for one in audit.entries(store, 50) if one.action != "waiting"]


def state(store: Store) -> list[Any]:
    """What forms could have changed in the database."""
    return [rows(store, f"SELECT * FROM {name}") for name in ("dead_letters", "quarantine", "events", "outbox")]


async def send(visited: Client, form: Form, token: str | None, **headers: str) -> tuple[int, str]:
    fields = {**form.fields, **({} if token is None else {"_csrf": token})}
    answer = await visited.post(form.path, data=fields, headers=headers, allow_redirects=False)
    return answer.status, answer.headers.get("Location", "")


async def token_of(visited: Client) -> str:
    return csrf_of(await (await visited.get("/nothing")).text())


def test_each_form_that_the_router_has_is_tested_here() -> None:
    assert sorted(FORMS) == sorted(routes("POST"))
    for route, pattern in routes("POST").items():
        assert all(pattern.fullmatch(form.path) for form in FORMS[route]), route
    assert {form.path for form in ALL if not form.action} == ASKING | OWN_SESSION | {"/erase/look"}


async def test_a_form_is_refused_without_the_token_of_this_session(visited: Client, store: Store) -> None:
    await sign_in(visited, PASSWORD)
    of_another = await token_of(visited)
    await sign_in(visited, PASSWORD)
    before = state(store)
    for form in ALL:
        for token in (None, "", of_another):
            # What only asks may come from a page that is older than the session, but from no other site.
            headers = {"Origin": "https://evil.example"} if form.path in ASKING else {}
            assert (await send(visited, form, token, **headers))[0] == 403, (form, token)
    assert (done(store), state(store)) == ([], before)
    assert (await visited.get("/nothing")).status == 404, "still signed in"


async def test_a_form_is_refused_to_who_has_not_signed_in(visited: Client, store: Store) -> None:
    before = state(store)
    stranger = csrf_of(await (await visited.get("/login")).text())
    for form in ALL:
        if form.path not in OWN_SESSION:
            assert await send(visited, form, stranger) == (303, "/login?ended=1"), form
            assert (await send(visited, form, stranger, Origin="https://evil.example"))[0] == 403, form
    assert (done(store), state(store)) == ([], before)


async def test_a_form_that_acts_is_refused_to_who_may_only_look(visited: Client, store: Store) -> None:
    await sign_in(visited, READ_PASSWORD)
    before, token = state(store), await token_of(visited)
    for form in ALL:
        if form.path not in OWN_SESSION:
            status, _ = await send(visited, form, token)
            assert status == (303 if form.path in ASKING else 403), form
    assert (done(store), state(store)) == ([], before)


async def test_to_ask_for_the_address_of_a_form_does_nothing(visited: Client, store: Store) -> None:
    await sign_in(visited, PASSWORD)
    before, token = state(store), await token_of(visited)
    for form in ALL:
        for method in ("GET", "HEAD", "PUT"):
            query = {**form.fields, "_csrf": token}
            answer = await visited.request(method, form.path, params=query, allow_redirects=False)
            assert answer.status in (200, 303, 404, 405), (method, form)
    assert (done(store), state(store)) == ([], before)
    assert (await visited.get("/nothing")).status == 404, "still signed in"


@pytest.mark.parametrize("form", ALL, ids=lambda form: f"{form.path} {form.action}".strip())
async def test_what_a_form_does_is_in_the_audit_with_who_did_it(visited: Client, store: Store, form: Form) -> None:
    await sign_in(visited, PASSWORD)
    before = state(store)
    status, where = await send(visited, form, await token_of(visited))
    assert status in (200, 303), status
    async with asyncio.timeout(20):
        while form.action and not done(store):  # a task writes it down in its own thread
            await asyncio.sleep(0.01)
    assert done(store) == ([("operator", form.action)] if form.action else [])
    if not form.action:
        assert state(store) == before
    assert "busy" not in where


@pytest.mark.parametrize(
    "form", [form for form in ALL if form.action], ids=lambda form: f"{form.path} {form.action}"
)
async def test_a_form_that_is_sent_twice_acts_once_and_says_so(visited: Client, store: Store, form: Form) -> None:
    await sign_in(visited, PASSWORD)
    brought = {**form.fields, "_once": "a" * 24}
    sending = [send(visited, form._replace(fields=brought), token) for token in [await token_of(visited)] * 2]
    (first, where), (second, twice) = sorted(await asyncio.gather(*sending), key=lambda answer: answer[1])
    assert (first, second) == (303, 303)
    async with asyncio.timeout(20):
        while not done(store) or any(task.ended_at is None and task.id != TASK for task in recent(visited)):
            await asyncio.sleep(0.01)
    after = state(store)
    back = await send(visited, form._replace(fields=brought), await token_of(visited))
    path, mark, place = where.partition("#")
    assert {twice, back[1]} == {f"{path}{'&' if '?' in path else '?'}twice=1{mark}{place}"}
    assert "asked for twice, and done once" in await (await visited.get(twice)).text()
    assert (done(store), state(store)) == ([("operator", form.action)], after)


def recent(visited: Client) -> list[tasks.Task]:
    return tasks.recent(visited.app)


async def test_the_same_form_filled_in_otherwise_is_another_one(visited: Client, store: Store) -> None:
    await sign_in(visited, PASSWORD)
    token = await token_of(visited)
    for letter, number in (("00:crm", 0), (f"{LETTER.delivery_id.hex()}:crm", 1)):
        fields = {"letter": letter, "do": "drop", "_once": "a" * 24}
        _, where = await send(visited, Form("/dead-letters/selected", fields), token)
        assert where == f"/dead-letters?done=dropped&number={number}"


async def test_what_was_not_begun_may_be_sent_again(visited: Client, store: Store) -> None:
    await sign_in(visited, PASSWORD)
    over = threading.Event()

    def until_over(_report: tasks.Report, _stopped: Callable[[], bool]) -> Mapping[str, int]:
        over.wait(20)
        return {}

    tasks.start(visited.app, "erase", "jan", until_over)
    fields = {"recipient": "jan@example.nl", "again": "jan@example.nl", "_once": "a" * 24}
    status, where = await send(visited, Form("/erase", fields), await token_of(visited))
    assert (status, where.endswith("?busy=1")) == (303, True)
    over.set()
    async with asyncio.timeout(20):
        while any(task.ended_at is None and task.id != TASK for task in recent(visited)):
            await asyncio.sleep(0.01)
    _, where = await send(visited, Form("/erase", fields), await token_of(visited))
    assert where.startswith("/task/")
    assert "busy" not in where
    assert "twice" not in where


async def test_each_form_that_acts_brings_what_tells_it_from_others(visited: Client) -> None:
    await sign_in(visited, PASSWORD)
    tokens = list[str]()
    for route in routes():
        answer = await visited.get(address(route))
        text = await answer.text() if answer.content_type == "text/html" else ""
        for action, inside in _FORM.findall(text):
            if action not in ASKING | OWN_SESSION:
                tokens += re.findall(r'name="_once" value="([^"]{24})"', inside) or [
                    f"none in {action} of {route}"
                ]
    assert len(tokens) > 12
    assert len(set(tokens)) == len(tokens)
    assert not [token for token in tokens if token.startswith("none")]
