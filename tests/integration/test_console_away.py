"""Each page and form while Redis or the database cannot be used: they say so in words, and nothing is a fault.

Found by the console's own router: a page that is added is tested here by itself.
"""

import logging
import socketserver
import threading
from collections.abc import Callable, Iterator, Set

import psycopg
import pytest
from aiohttp import ClientResponse

from tests.support.console import console, csrf_of
from tests.support.console_forms import ALL, address
from tests.support.console_routes import routes

#: Pages that ask Redis, and those that do not ask the database.
OF_REDIS = {"/", "/handler", "/handlers", "/refusals", "/system/queues", "/system/redis"}
NOT_OF_DATABASE = {
    "/refusals", "/system", "/system/disks", "/system/queues", "/system/redis", "/system/settings",
    "/task/{number}", "/tasks",
}  # fmt: skip  # a list to be read across
#: Pages that take seconds by themselves, or look at more than the two: they have tests of their own.
LONG = {"/system/check"}

NOWHERE = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d", "REDIS_URL": "redis://127.0.0.1:1/0"}

Trouble = Callable[[pytest.FixtureRequest], dict[str, str]]


class Loading(socketserver.StreamRequestHandler):
    """A Redis that has only just been started: it answers each command alike."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            if line.startswith(b"*"):
                self.wfile.write(b"-LOADING Redis is loading the dataset in memory\r\n")


@pytest.fixture
def loading() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Loading) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        server.shutdown()


def no_redis(request: pytest.FixtureRequest) -> dict[str, str]:
    return {**NOWHERE, "DATABASE_URL": request.getfixturevalue("sqlite_url")}


def redis_loads(request: pytest.FixtureRequest) -> dict[str, str]:
    return {**no_redis(request), "REDIS_URL": request.getfixturevalue("loading")}


def no_database(request: pytest.FixtureRequest) -> dict[str, str]:
    return {**NOWHERE, "REDIS_URL": request.getfixturevalue("redis_url")}


def neither(_request: pytest.FixtureRequest) -> dict[str, str]:
    return NOWHERE


def schema_is(version: str) -> Trouble:
    def made(request: pytest.FixtureRequest) -> dict[str, str]:
        url = request.getfixturevalue("postgres_database").url()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", [version])
        return {"DATABASE_URL": url, "REDIS_URL": request.getfixturevalue("redis_url")}

    return made


def read_only(request: pytest.FixtureRequest) -> dict[str, str]:
    url = request.getfixturevalue("postgres_database").url()
    mark = "&" if "?" in url else "?"
    options = f"{mark}options=-c%20default_transaction_read_only%3Don"
    return {"DATABASE_URL": url + options, "REDIS_URL": request.getfixturevalue("redis_url")}


#: The pages that need the database.
OF_DATABASE = routes().keys() - NOT_OF_DATABASE - LONG
#: What is wrong, what is said of it, and by which pages.
TROUBLES: dict[str, tuple[Trouble, str, Set[str]]] = {
    "Redis is away": (no_redis, "127.0.0.1:1", OF_REDIS),
    "Redis is loading": (redis_loads, "LOADING", OF_REDIS),
    "the database is away": (no_database, "127.0.0.1:1", OF_DATABASE),
    "both are away": (neither, "127.0.0.1:1", OF_DATABASE | OF_REDIS),
    "the schema is older": (schema_is("0012"), "0012", OF_DATABASE),
    "the schema is newer": (schema_is("9999"), "9999", OF_DATABASE),
    "the database is read-only": (read_only, "", set()),
}


@pytest.mark.slow
@pytest.mark.timeout(300)  # fifty pages and forms, of which some wait for an answer
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_each_page_and_each_form_says_in_words_what_cannot_be_used(
    request: pytest.FixtureRequest, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    made, wanted, telling = TROUBLES[trouble]
    caplog.set_level(logging.ERROR)
    told = set()
    async with console(made(request)) as visitor:
        for route in sorted(routes().keys() - LONG):
            answer = await visitor.get(address(route))
            text = await said(answer)
            if answer.status in (200, 503):
                assert "<h1>" in text or "html" not in answer.content_type, route
            if wanted in text:
                told.add(route)
        token = csrf_of(await (await visitor.get("/erase")).text())
        for form in ALL:
            await said(await visitor.post(form.path, data={**form.fields, "_csrf": token}, allow_redirects=False))
    assert telling - told == set()
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def said(answer: ClientResponse) -> str:
    """What an answer says, which is no fault of ours."""
    text = await answer.text()
    assert answer.status in (200, 303, 400, 403, 404, 503), (answer.url, answer.status)
    assert "Traceback" not in text, answer.url
    assert "fault of the program" not in text, answer.url
    return text
