"""The console behind proxies, with the configurations that its page shows."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from ingest.console.app import create
from ingest.settings import Settings
from tests.support.proxies import proxy, shown

PAGE, PASSWORD = "console.md", "een-lang-wachtwoord"
#: "geheim", as `mkpasswd` and `caddy hash-password` write it.
HASHES = {
    "haproxy": (
        "$6$…",
        "$6$uPQQL2OC2MGtbknk$5kraPNA/4u7e6mZdirAkFs31w7B5JtbSR6Dr3dVcpIZM/YCz3C3U.4z6kHygo.D8XGzvtacGMTwAiH8bF0FMs.",
    ),
    "caddy": ("$2a$14$…", "$2a$14$fA0T9rgiNlD0.KwSyUaC3uXyEhF58W.Il9U7exMKkXSyXSnnQNk/6"),
}
NAMED = {
    "INGEST_CONSOLE_AUTH_HEADER": "Remote-User",
    "INGEST_CONSOLE_PROXIES": "127.0.0.1",
    "INGEST_CONSOLE_OPERATORS": "bart",
}
BY_PASSWORD = {"INGEST_CONSOLE_PASSWORD": PASSWORD, "INGEST_CONSOLE_PROXIES": "127.0.0.1"}


@asynccontextmanager
async def console_behind(name: str, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a console behind this proxy."""
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/none.db", "REDIS_URL": "redis://127.0.0.1:1/0"}
    environ |= BY_PASSWORD if name == "nginx" else NAMED
    configuration = shown(PAGE, name).replace("basic_auth", "basicauth").replace(*HASHES.get(name, ("\0", "")))
    async with TestServer(create(Settings.read(environ)), host="127.0.0.1") as server:
        assert server.port is not None
        entered = proxy(name, configuration, tmp_path, server.port, "/healthz")
        port = await asyncio.to_thread(entered.__enter__)
        try:
            yield f"https://localhost:{port}"
        finally:
            await asyncio.to_thread(entered.__exit__, None, None, None)


async def curl(*arguments: str) -> str:
    """What curl shows, headers first."""
    command = ["curl", "-ski", "-m", "30", *arguments]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    return done.stdout


def whoever(name: str) -> list[str]:
    return [] if name == "nginx" else ["-u", "anna:geheim"]


@pytest.mark.parametrize("name", ["nginx", "caddy", "haproxy"])
async def test_the_cookie_is_for_https_alone_and_whatever_leads_on_stays_there(name: str, tmp_path: Path) -> None:
    async with console_behind(name, tmp_path) as url:
        page = await curl(*whoever(name), f"{url}/")
        cookies = [line for line in page.splitlines() if line.lower().startswith("set-cookie:")]
        assert len(cookies) == 1, page
        assert "__Host-ingest=" in cookies[0]
        assert "; Secure" in cookies[0]
        assert "http://" not in page.partition("\r\n\r\n")[0], page


@pytest.mark.parametrize("name", ["caddy", "haproxy"])
async def test_nobody_names_himself(name: str, tmp_path: Path) -> None:
    async with console_behind(name, tmp_path) as url:
        claims = ["-H", "Remote-User: bart", "-H", "remote_user: bart"]
        assert (await curl(*claims, f"{url}/")).split()[1] == "401"
        page = await curl(*whoever(name), *claims, f"{url}/nothing")
        assert "anna" in page
        assert "bart" not in page


@pytest.mark.parametrize("name", ["nginx", "caddy", "haproxy"])
async def test_what_is_live_is_not_held_back(name: str, tmp_path: Path) -> None:
    async with console_behind(name, tmp_path) as url:
        jar = str(tmp_path / "jar")
        if name == "nginx":
            form = (await curl("-c", jar, f"{url}/login")).partition('name="_csrf" value="')[2].partition('"')[0]
            fields = ["-d", f"_csrf={form}", "-d", f"password={PASSWORD}", "-H", f"Origin: {url}"]
            assert "303" in (await curl("-b", jar, "-c", jar, *fields, f"{url}/login")).split("\r\n")[0]
        command = ["curl", "-skN", "-m", "60", "-b", jar, *whoever(name), f"{url}/live/now"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            said = await asyncio.wait_for(process.stdout.read(5), 40)  # while the stream goes on for ten minutes
        finally:
            process.kill()
            await process.wait()
        assert said[:1] in (b"e", b":", b"d"), said
