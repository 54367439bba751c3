"""`ingest check` from a page: in a process of its own, one at a time, within a time.

A check imports the modules of users' handlers, and waits where a server does not answer: neither is for the
process that serves pages. Its findings are remembered for a moment, so that nobody can have it run all the time.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import orjson
from aiohttp import web

from ingest.setting_sources import FILE_VARIABLE, NO_FILE
from ingest.shown import without_secrets

#: Seconds that it may take: some servers do not answer, one after the other.
PATIENCE = 45.0
#: Seconds for which the rest of what it wrote is waited for when it has ended.
LEFT_TO_READ = 2.0
#: Seconds for which its findings are shown again rather than looked for anew.
FRESH = 10.0
#: Bytes that are read of what it writes.
MOST = 256 * 1024
#: Levels from bad to good.
LEVELS = ("wrong", "risk", "ok")


class Found(NamedTuple):
    """One finding, as `Finding` has it."""

    level: str
    about: str
    text: str
    code: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found, the worst first; `at` in Unix seconds."""

    findings: tuple[Found, ...]
    at: float
    seconds: float
    #: Whether it was ended before it was done.
    cut: bool = False
    #: What it said where it could not begin.
    error: str = ""


class Checks:
    """The last check, and the one that is under way."""

    def __init__(self) -> None:
        self._turns = asyncio.Lock()
        self._last: Checked | None = None

    async def check(self, environ: Mapping[str, str]) -> Checked:
        """Check everything, unless that was done just now."""
        async with self._turns:
            if self._last is None or time.time() - self._last.at > FRESH:
                self._last = await _run(environ)
            return self._last


CHECKS = web.AppKey("checks", Checks)


async def _run(environ: Mapping[str, str]) -> Checked:
    began = time.time()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "workers.operations.check"),
        env={**os.environ, **environ, FILE_VARIABLE: NO_FILE},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    output, said = bytearray(), bytearray()
    read = [
        asyncio.ensure_future(_read(process.stdout, output)),
        asyncio.ensure_future(_read(process.stderr, said)),
    ]
    cut = False
    try:
        await asyncio.wait_for(asyncio.shield(process.wait()), PATIENCE)
    except TimeoutError:
        cut = True
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        # What a handler's module has started may hold the pipes open after that.
        await asyncio.wait(read, timeout=LEFT_TO_READ)
        for one in read:
            one.cancel()
        await asyncio.gather(*read, return_exceptions=True)
    found = sorted(_findings(output), key=lambda one: LEVELS.index(one.level))
    error = ""
    if not found and not cut:
        error = without_secrets(said.decode(errors="replace").strip().rpartition("\n")[2])[:1000]
    return Checked(tuple(found), time.time(), time.time() - began, cut, error)


async def _read(stream: asyncio.StreamReader, kept: bytearray) -> None:
    """Keep what comes until its end; what is more than `MOST` is thrown away, so that the process can go on."""
    while part := await stream.read(65536):
        kept += part[: max(0, MOST - len(kept))]


def _findings(output: bytes | bytearray) -> list[Found]:
    found = []
    for line in output.splitlines():
        try:
            told = orjson.loads(line)
            one = Found(told["level"], told["about"], without_secrets(told["text"]), told["code"] or "")
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue  # a handler's module may write, too
        if one.level in LEVELS:
            found.append(one)
    return found
