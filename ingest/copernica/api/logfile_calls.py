"""The calls for log files: which days and files there are, and the files themselves.

The facts come from Copernica's articles on `/logfiles` and `/logfile` in REST v4.
"""

import asyncio
import errno
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from ingest.copernica.api.answers import Form, require_log_file
from ingest.copernica.api.calls import Calls
from ingest.copernica.api.connection import pieces
from ingest.copernica.api.request import Request
from ingest.copernica.api.retry import TemporaryFailure
from ingest.copernica.api.transport import Transport
from ingest.errors import NotFound, RequestRejected, Unavailable, Unreachable

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Bytes that a download leaves free on its disk, where the store or the spool may be, too; and how many bytes are
#: written between two looks.
MIN_FREE = 256 * 1024 * 1024
LOOK_EVERY = 64 * 1024 * 1024
#: End of a file's name while it is being downloaded, after something random.
PART_SUFFIX = ".part"

#: Names of log files: `cdm-click.2026-11-20.log`. Nothing else goes into a URL or a path.
LOG_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,63})\.([0-9]{4}-[0-9]{2}-[0-9]{2})\.log")

#: The part of the URL that asks for each form. Without `/header`, CSV has no header row.
URL_ENDINGS: dict[Form, str] = {"csv": "csv/header", "json": "json", "xml": "xml"}

#: Called with the bytes received and the bytes expected (None: unknown); goes back to 0 with each new attempt.
ProgressCall = Callable[[int, int | None], object]


class LogFileCalls(Calls):
    """Calls for log files."""

    async def dates(self) -> list[date]:
        """The days (in UTC) that have log files, in order."""
        about = "list the days of log files"
        days = days_in(await self.get("/logfiles", about=about))
        if days is None:
            raise self._unexpected(about)
        return days

    async def logfiles(self, day: date, prefixes: Collection[str]) -> list[str]:
        """The names of a day's log files of these kinds, in order: `cdm-click.2026-11-20.log`.

        Version 4 documents a list per kind, older versions one for the whole day. Where the first is refused, or
        answers with anything but names of that day (such as the list of days, when it does not know the
        parameters), the second is requested as well. A kind that both refuse has no file.

        Raises:
            NotFound: every request is answered 404.
            RequestRejected: both ways refuse all kinds, or no answer can be read.
        """
        kinds = sorted(set(prefixes))
        answers = await _gather(self._by_kind(day, kind) for kind in kinds)
        names = {name for answer in answers if isinstance(answer, list) for name in answer}
        refusals = [answer for answer in answers if not isinstance(answer, list)]
        if refusals:
            whole_day = await self._by_day(day)
            if isinstance(whole_day, list):
                names |= set(whole_day)
            elif len(refusals) == len(answers) or any(isinstance(one, _NotNames) for one in refusals):
                raise next((one for one in refusals if not isinstance(one, NotFound)), whole_day)
            else:
                log.warning(
                    "%d of %d kinds of log files cannot be listed: %s", len(refusals), len(kinds), refusals[0]
                )
        return sorted(name for name in names if name.removesuffix(f".{day}.log") in kinds)

    async def _by_kind(self, day: date, kind: str) -> "list[str] | RequestRejected | NotFound":
        return await self._names(day, "/logfiles", {"date": str(day), "type": kind}, f"list {kind} files of {day}")

    async def _by_day(self, day: date) -> "list[str] | RequestRejected | NotFound":
        return await self._names(day, f"/logfiles/{day}", {}, f"list log files of {day}")

    async def _names(
        self, day: date, path: str, params: dict[str, str], about: str
    ) -> "list[str] | RequestRejected | NotFound":
        """The names in a list of that day's files; a refusal, or an answer that is something else, as a value."""
        try:
            entries = await self.get(path, params, about)
        except (RequestRejected, NotFound) as refusal:
            return refusal
        names = names_in(entries, day)
        return _NotNames(str(self._unexpected(about))) if names is None else names

    async def download(
        self, name: str, path: Path, progress: ProgressCall | None = None, form: Form = "csv"
    ) -> int:
        """Put a log file at `path`, and return its size in bytes.

        `csv` comes with a header row. The file appears at `path` only when it is complete; until then it grows
        next to it, under a name of its own. What is left of a cut connection is discarded and downloaded again.

        Raises:
            NotFound: Copernica has no such file.
            Unreachable: no attempt got all of it.
            Unavailable: it cannot be written.
        """
        if not LOG_NAME.fullmatch(name):
            raise NotFound("Not the name of a log file: they look like cdm-click.2026-11-20.log.")
        request = Request("GET", f"/logfile/{name}/{URL_ENDINGS[form]}", f"send {name}", large=True)
        check = partial(require_log_file, form=form)
        return await saved(self._transport, request, path, self._policy.download_timeout, check, progress)


async def saved(
    transport: Transport,
    request: Request,
    path: Path,
    limit: float,
    check: Callable[[Path], object],
    progress: ProgressCall | None = None,
) -> int:
    """Make a call and put what it brings at `path`, within `limit` seconds; returns its size in bytes.

    `check` is given the file when it has come to its end, and raises where that cannot be all of it.

    Raises:
        RestError: the call failed.
        Unavailable: the file cannot be written.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART_SUFFIX}")

    async def save(response: aiohttp.ClientResponse) -> int:
        size = await _save(response, part, progress or (lambda _received, _expected: None))
        check(part)
        return size

    try:
        async with asyncio.timeout(limit):
            size = await transport.call(request, save)
        part.replace(path)
        return size
    except TimeoutError:
        minutes = round(limit / 60)
        raise Unreachable(f"Copernica did not {request.about} in {minutes} minutes: try again later.") from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be written ({error.strerror}): make room first.") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


class _NotNames(RequestRejected):
    """An answer that should be a list of a day's files and is not."""


async def _gather(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order; the first failure cancels the rest and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def _save(response: aiohttp.ClientResponse, path: Path, progress: ProgressCall) -> int:
    """Write a body to a file; one that is shorter than announced makes aiohttp raise an error."""
    total = None if "Content-Encoding" in response.headers else response.content_length
    size = looked = 0
    last = b""
    progress(0, total)
    with path.open("wb") as file:
        async for piece in pieces(response):
            file.write(piece)
            size += len(piece)
            last = piece[-1:]
            if size - looked >= LOOK_EVERY:
                looked = size
                if shutil.disk_usage(path.parent).free < MIN_FREE:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            progress(size, total)
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    if response.content_length is None and "Transfer-Encoding" not in response.headers and last != b"\n":
        raise TemporaryFailure("no end to the file")  # nothing else could tell that the connection was cut
    return size


def days_in(entries: object) -> list[date] | None:
    """The days in an answer that should be a list of them, in order; None if it is something else."""
    days = {day for text in entries if (day := _day_of(text))} if isinstance(entries, list) else set()
    return sorted(days) if days or entries == [] else None


def names_in(entries: object, day: date) -> list[str] | None:
    """The names in an answer that should be a list of a day's files; None if it is something else."""
    names = [entry for entry in entries if _is_of(entry, day)] if isinstance(entries, list) else []
    return names if names or entries == [] else None


def _day_of(text: object) -> date | None:
    try:
        return date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _is_of(name: object, day: date) -> bool:
    match = LOG_NAME.fullmatch(name) if isinstance(name, str) else None
    return match is not None and match[2] == str(day)
