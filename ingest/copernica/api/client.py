"""Copernica's REST API, version 4, as far as this program needs it: log files, webhooks, the account's name.

The facts come from Copernica's articles on REST v4 (`/logfiles`, `/logfile`, `/webhooks`, `/webhook`,
`/identity`). How a call gets there, and what becomes of failures, is in `ingest.copernica.api.transport`.
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
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from ingest.copernica.api.answers import Form, NotJson, created_id, read_json, require_log_file
from ingest.copernica.api.connection import pieces, read_start
from ingest.copernica.api.retry import RetryPolicy, TemporaryFailure
from ingest.copernica.api.transport import Request, Transport
from ingest.copernica.api.webhooks import Webhook
from ingest.errors import NotFound, RequestRejected, Unavailable, Unreachable

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Entities requested at once; Copernica gives 100 by default and at most 1000.
PAGE_SIZE = 1000
#: Webhooks that an account can have: a list without end is not of Copernica's making.
MAX_WEBHOOKS = 100_000
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


class Copernica:
    """A client, to be used as `async with Copernica(token, api_url, auth_url) as copernica`.

    Every call raises a `RestError` if it still fails after all attempts; its message says what to do.
    """

    def __init__(
        self,
        token: str,
        api_url: str,
        auth_url: str,
        concurrency: int = 4,
        policy: RetryPolicy | None = None,
    ) -> None:
        """`token` is an API token of the account, exchanged at `auth_url` for access to `api_url`.

        `concurrency` is how many calls are made at once.
        """
        self._policy = policy or RetryPolicy()
        self._transport = Transport(token, api_url, auth_url, concurrency, self._policy)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    @property
    def today(self) -> date | None:
        """Today's date in UTC by Copernica's clock; None before its first answer, or if that does not tell."""
        return self._transport.today

    @property
    def clock_offset(self) -> float | None:
        """Seconds by which Copernica's clock is ahead of ours; None before its first answer."""
        return self._transport.clock_offset

    async def identity(self) -> dict[str, Any]:
        """What Copernica says about the account that the token belongs to: its id, name and company."""
        account = await self._get("/identity", "name the account")
        if not isinstance(account, dict):
            raise _unexpected_answer("name the account")
        return account

    async def dates(self) -> list[date]:
        """The days (in UTC) that have log files, in order."""
        entries = await self._get("/logfiles", "list the days of log files")
        days = {day for text in entries if (day := _day(text))} if isinstance(entries, list) else set()
        if not isinstance(entries, list) or (entries and not days):
            raise _unexpected_answer("list the days of log files")
        return sorted(days)

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
            entries = await self._get(path, about, params)
        except (RequestRejected, NotFound) as refusal:
            return refusal
        names = [entry for entry in entries if _is_of(entry, day)] if isinstance(entries, list) else []
        if not isinstance(entries, list) or (entries and not names):
            return _NotNames(str(_unexpected_answer(about)))
        return names

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
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART_SUFFIX}")

        async def save(response: aiohttp.ClientResponse) -> int:
            size = await _save(response, part, progress or (lambda _received, _expected: None))
            require_log_file(part, form)
            return size

        try:
            async with asyncio.timeout(self._policy.download_timeout):
                size = await self._transport.call(request, save)
            part.replace(path)
            return size
        except TimeoutError:
            minutes = round(self._policy.download_timeout / 60)
            raise Unreachable(f"Copernica did not send {name} in {minutes} minutes: try again later.") from None
        except OSError as error:
            raise Unavailable(f"{path} cannot be written ({error.strerror}): make room first.") from None
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    async def webhooks(self) -> list[Webhook]:
        """All webhooks of the account."""
        webhooks: dict[str, Webhook] = {}
        while True:
            params = {"start": str(len(webhooks)), "limit": str(PAGE_SIZE)}
            page = await self._get("/webhooks", "list webhooks", params)
            entries = page.get("data") if isinstance(page, dict) else page
            if not isinstance(entries, list):
                raise _unexpected_answer("list webhooks")
            before = len(webhooks)
            for entry in entries:
                if isinstance(entry, dict):
                    webhook = Webhook.from_json(entry)
                    webhooks[webhook.id] = webhook
            total = page.get("total") if isinstance(page, dict) else None
            if len(webhooks) > MAX_WEBHOOKS:
                raise _unexpected_answer("list webhooks")
            # A page that brings nothing new ends it as well: there may be fewer of them than announced.
            if len(webhooks) == before or (isinstance(total, int) and len(webhooks) >= total):
                return list(webhooks.values())

    async def create_webhook(
        self,
        handler: str,
        trigger: str,
        callers: Iterable[str] = (),
        database: int | None = None,
        collection: int | None = None,
    ) -> str:
        """Register a webhook, and return its id, empty if Copernica does not tell.

        Raises:
            OutcomeUnknown: the connection was lost; it may be registered. The caller has to check.
        """
        body = _given(handler=handler, trigger=trigger, callers=callers, database=database, collection=collection)
        request = Request("POST", "/webhooks", f"create a webhook for {trigger}", body=body, repeatable=False)
        return await self._transport.call(request, created_id)

    async def update_webhook(
        self,
        webhook_id: str,
        handler: str | None = None,
        trigger: str | None = None,
        callers: Iterable[str] = (),
        database: int | None = None,
        collection: int | None = None,
    ) -> None:
        """Change what is given of a webhook, and leave the rest."""
        body = _given(handler=handler, trigger=trigger, callers=callers, database=database, collection=collection)
        path = _webhook_path(webhook_id)
        there = await self._get(path, f"show webhook {webhook_id}")
        if isinstance(there, dict):
            # "If no callers are specified, all possible callers are applied": what is not sent may be lost.
            _, *before = Webhook.from_json(there)
            body = _given(**dict(zip(Webhook._fields[1:], before, strict=True))) | body
        request = Request("PUT", path, f"change webhook {webhook_id}", body=body)
        await self._transport.call(request, _nothing)

    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook. One that is deleted already is as it should be."""
        about = f"delete webhook {webhook_id}"
        request = Request("DELETE", _webhook_path(webhook_id), about, excuse="already been removed")
        await self._transport.call(request, _nothing)

    async def _get(self, path: str, about: str, params: dict[str, str] | None = None) -> Any:
        try:
            content = await self._transport.call(Request("GET", path, about, params or {}), read_json)
        except NotJson:
            raise _unexpected_answer(about) from None
        if isinstance(content, dict) and isinstance(content.get("error"), dict):
            said = self._transport.explained(str(content["error"].get("message") or ""))
            raise RequestRejected(f"Copernica declines to {about}{said}.")
        return content


class _NotNames(RequestRejected):
    """An answer that should be a list of a day's files and is not."""


def _unexpected_answer(about: str) -> RequestRejected:
    return RequestRejected(f"Copernica gives an unexpected answer when asked to {about}: check COPERNICA_API_URL.")


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


async def _nothing(response: aiohttp.ClientResponse) -> None:
    """Read an answer that says nothing, so that its connection can be used again."""
    await read_start(response)


def _given(**values: Any) -> dict[str, Any]:
    """The parameters that were given, as a body."""
    values["callers"] = list(values["callers"])
    return {name: value for name, value in values.items() if value not in (None, [])}


def _webhook_path(webhook_id: str) -> str:
    if not (webhook_id.isascii() and webhook_id.isalnum()):
        raise NotFound("Not the id of a webhook: `ingest webhooks list` shows them.")
    return f"/webhook/{webhook_id}"


def _day(text: object) -> date | None:
    try:
        return date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _is_of(name: object, day: date) -> bool:
    match = LOG_NAME.fullmatch(name) if isinstance(name, str) else None
    return match is not None and match[2] == str(day)
