"""A console that runs in the test's own process, and a browser's requests to it over a real socket."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from unittest.mock import patch

from aiohttp.test_utils import TestClient, TestServer

from ingest.console.app import create
from ingest.console.origins import Origins
from ingest.setting_sources import ENVIRONMENT, Given
from ingest.settings import Settings
from tests.support.running import PATIENCE


@asynccontextmanager
async def console(environ: Mapping[str, str], **headers: str) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]
    """A client of a console with these settings, and a folder for its data; `headers` go with each request."""
    with TemporaryDirectory() as folder, patch("ingest.console.handler_choice.PATIENCE", PATIENCE):
        # Handlers are imported by a process that is started for it: a busy machine takes its time.
        environ = {"INGEST_DATA_DIR": folder, **environ}
        app = create(Settings.read(environ), Origins(Given(environ, dict.fromkeys(environ, ENVIRONMENT))))
        async with TestClient(TestServer(app), headers=headers) as client:
            yield client


def csrf_of(text: str) -> str:
    """The token that the forms of a page bring."""
    found = re.search(r'name="_csrf" value="([^"]+)"', text)
    assert found is not None
    return found[1]


async def sign_in(client: TestClient, password: str) -> tuple[str, str]:  # type: ignore[type-arg]
    """Sign in as somebody who types this password; returns the name and the value of the session's cookie."""
    form = {"_csrf": csrf_of(await (await client.get("/login")).text()), "password": password}
    answer = await client.post("/login", data=form, allow_redirects=False)
    assert answer.status == 303, await answer.text()
    (cookie,) = answer.cookies.values()
    return cookie.key, cookie.value
