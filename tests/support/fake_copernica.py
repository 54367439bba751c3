"""Copernica's REST API for tests: the fake, served on a real socket by a thread of its own."""

import asyncio
import csv
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ingest.copernica.api.client import Copernica
from ingest.copernica.api.retry import RetryPolicy
from ingest.simulation import profiles
from ingest.simulation.fake_api import FakeCopernica
from ingest.simulation.profiles import Entity
from ingest.testing.api import serving as serving  # noqa: PLC0414  # for those who serve something else

TOKEN = "geheim-0123456789abcdef"
#: As little waiting as a test can do with.
HASTY = RetryPolicy(attempts=4, first_pause=0.001, max_retry_after=0.01, silence_timeout=0.4, answer_timeout=10.0)


@contextmanager
def fake_copernica(fake: FakeCopernica) -> Iterator[dict[str, str]]:
    """Serve a fake while the block runs; gives the settings with which it is found."""
    with serving(fake.app()) as url:
        yield {"COPERNICA_API_URL": f"{url}/v4", "COPERNICA_AUTH_URL": url, "COPERNICA_TOKEN": fake.token}


def client(environ: dict[str, str], policy: RetryPolicy = HASTY, concurrency: int = 4) -> Copernica:
    """A client of it."""
    return Copernica(
        environ["COPERNICA_TOKEN"],
        environ["COPERNICA_API_URL"],
        environ["COPERNICA_AUTH_URL"],
        concurrency,
        policy,
    )


class Request(NamedTuple):
    """A request to the API: `path` without its `/v4`."""

    path: str
    params: dict[str, Any] = {}  # noqa: RUF012  # never changed
    method: str = "GET"
    body: Any = None


class Answer(NamedTuple):
    """What a request was answered with; `content` is None where that is not JSON."""

    status: int
    content: Any
    headers: Mapping[str, str]


def answers(fake: FakeCopernica, *requests: Request) -> list[Answer]:
    """What a fake answers to each of these requests, with none of our client between."""

    async def ask() -> list[Answer]:
        async with TestClient(TestServer(fake.app())) as asking:
            access = await (await asking.post("/", data={"access_token": fake.token})).text()
            headers = {"Authorization": f"Bearer {access}"}
            found = []
            for path, params, method, body in requests:
                call = asking.request(
                    method, f"/v4{path}", params=params, json=body, headers=headers, allow_redirects=False
                )
                async with call as response:
                    content = await response.json() if response.content_type == "application/json" else None
                    found.append(Answer(response.status, content, response.headers))
            return found

    return asyncio.run(ask())


def log_file(folder: Path, name: str, rows: int = 3) -> Path:
    """A log file as `ingest simulate --with-logfiles` writes them, with a field of several lines in each row."""
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "time", "header", "email", "tags"])
        for number in range(rows):
            header = 'Host: é\nReferer: "<&>\r\n'
            writer.writerow([f"m{number}", "2026-11-20 09:00:00", header, f"a{number}@example.nl", "a;b"])
    return path


def scripted(
    answer: Callable[[web.Request], web.StreamResponse | Awaitable[web.StreamResponse]], access: str = "abc"
) -> web.Application:
    """An API of which every call is answered alike."""
    app = web.Application()

    async def exchange(_request: web.Request) -> web.Response:
        return web.Response(text=access)

    async def everything(request: web.Request) -> web.StreamResponse:
        answered = answer(request)
        return answered if isinstance(answered, web.StreamResponse) else await answered

    app.router.add_post("/", exchange)
    app.router.add_route("*", "/{rest:.+}", everything)
    return app


def client_at(url: str, policy: RetryPolicy = HASTY) -> Copernica:
    """A client of such an API."""
    urls = {"COPERNICA_API_URL": f"{url}/v4/", "COPERNICA_AUTH_URL": url}
    return client(urls | {"COPERNICA_TOKEN": TOKEN}, policy)


def add_profile(
    fake: FakeCopernica, number: int, email: str, removed: int | None = None, database: int = 7
) -> None:
    """Have a profile in a database of the fake; `removed` is when (in Unix seconds) it was."""
    with fake.truth.writing() as db:
        profiles.save(db, Entity("profile", number, database, None, {"email": email}, {}, 0, 0, removed))


def fields_of(fake: FakeCopernica, number: int) -> dict[str, Any]:
    """The fields of a profile."""
    with fake.truth.writing() as db:
        found = profiles.found(db, "profile", number)
    assert found is not None
    return found.fields
