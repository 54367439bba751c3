"""The client of SMTPeter's API: which days and log files there are, the files, and events by a criterion."""

from collections.abc import Collection, Mapping
from datetime import date
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, Self
from urllib.parse import quote

import orjson

from ingest.copernica.api.answers import Form, read_content, require_log_file
from ingest.copernica.api.calls import CONCURRENCY, Caller
from ingest.copernica.api.logfile_calls import LOG_NAME, ProgressCall, days_in, names_in, saved
from ingest.copernica.api.request import Request
from ingest.copernica.api.retry import RetryPolicy
from ingest.copernica.api.transport import message_in
from ingest.copernica.smtpeter import API_URL
from ingest.copernica.smtpeter.transport import TokenInUrl
from ingest.errors import NotFound, RequestRejected, SettingsError

#: The part of the URL that asks for each form. Without `/header`, CSV has no header row.
URL_ENDINGS: Mapping[Form, str] = {"csv": "header", "json": "json", "xml": "xml"}
#: Characters of a criterion: ids, addresses (320 at most) and some tags fit, and web servers take URLs so long.
MAX_CRITERION = 1000
#: Bytes of an answer that is looked at for a refusal: a sentence fits.
MAX_REFUSAL = 4096


class By(StrEnum):
    """What events can be asked for by; the value is that part of the path."""

    MESSAGE = "messageid"
    RECIPIENT = "email"
    TEMPLATE = "template"
    TAGS = "tags"


class Criterion(NamedTuple):
    """Which events: `value` is a message's id, an address, a template's id, or tags with `;` between them.

    `tags`, written likewise, are what else they must have.
    """

    by: By
    value: str
    tags: str = ""

    @property
    def path(self) -> str:
        """The path of the call, in which the value means itself whatever its characters.

        Raises:
            SettingsError: it cannot stand in a URL; its sentence names it by the word of `by`.
        """
        text = self._written(self.value)
        parts = [part.strip() for part in text.split(";")] if self.by is By.TAGS else [text]
        if any(part in ("", ".", "..") for part in parts):
            raise SettingsError(
                f"{self.value!r:.60} is nothing that SMTPeter can be asked for: name one thing, not a path."
            )
        return f"/events/{self.by}/{';'.join(quote(part, safe='') for part in parts)}"

    def params(self, first: date, end: date) -> list[tuple[str, str]]:
        """The parameters of the call."""
        tags = [("tags", self._written(self.tags))] if self.tags else []
        return [("start", str(first)), ("end", str(end)), *tags]

    @staticmethod
    def _written(value: str) -> str:
        text = value.strip()
        if not text.isprintable() or len(text) > MAX_CRITERION:
            raise SettingsError(
                f"{value!r:.60} cannot be asked for: it has control characters, or more than "
                f"{MAX_CRITERION} characters."
            )
        return text


class HasAccess(Protocol):
    """What gives access to SMTPeter: the program's settings do."""

    @property
    def smtpeter_token(self) -> str | None:
        """The API token."""

    @property
    def smtpeter_url(self) -> str:
        """Where the API is."""


class SMTPeter(Caller):
    """A client, to be used as `async with SMTPeter(token) as smtpeter`.

    Every call raises a `RestError` if it still fails after all attempts; its message says what to do.
    """

    def __init__(
        self, token: str, api_url: str = API_URL, concurrency: int = CONCURRENCY, policy: RetryPolicy | None = None
    ) -> None:
        """`concurrency` is how many calls are made at once."""
        policy = policy or RetryPolicy()
        super().__init__(TokenInUrl(token, api_url, concurrency, policy), policy)

    @classmethod
    def with_settings(cls, settings: HasAccess, policy: RetryPolicy | None = None) -> Self:
        """A client by the token of the program's settings.

        Raises:
            SettingsError: INGEST_SMTPETER_TOKEN is not set.
        """
        if settings.smtpeter_token is None:
            raise SettingsError("INGEST_SMTPETER_TOKEN is not set: create an API token in SMTPeter and set it.")
        return cls(settings.smtpeter_token, settings.smtpeter_url, policy=policy)

    async def dates(self) -> list[date]:
        """The days (in UTC) that have log files, in order."""
        about = "list SMTPeter's days of log files"
        days = days_in(await self._read(Request("GET", "/logfiles", about), read_content))
        if days is None:
            raise self._unexpected(about)
        return days

    async def logfiles(self, day: date, prefixes: Collection[str]) -> list[str]:
        """The names of a day's log files of these kinds, in order: `opens.2026-11-20.log`.

        Raises:
            NotFound: there is no list of that day.
        """
        about = f"list SMTPeter's log files of {day}"
        names = names_in(await self._read(Request("GET", f"/logfiles/{day}", about), read_content), day)
        if names is None:
            raise self._unexpected(about)
        return sorted({name for name in names if name.removesuffix(f".{day}.log") in prefixes})

    async def download(
        self, name: str, path: Path, progress: ProgressCall | None = None, form: Form = "csv"
    ) -> int:
        """Put a log file at `path`, and return its size in bytes. `csv` comes with a header row.

        Raises:
            NotFound: there is no such file.
            Unreachable: no attempt got all of it.
            Unavailable: it cannot be written.
        """
        if not LOG_NAME.fullmatch(name):
            raise NotFound("Not the name of a log file: they look like opens.2026-11-20.log.")
        request = Request("GET", f"/logfiles/{name}/{URL_ENDINGS[form]}", f"send SMTPeter's {name}", large=True)
        check = partial(self._check, about=request.about, form=form)
        return await saved(self._transport, request, path, self._policy.download_timeout, check, progress)

    async def events(
        self, criterion: Criterion, first: date, end: date, path: Path, progress: ProgressCall | None = None
    ) -> int:
        """Put the events of the days from `first` to the one before `end` at `path`; returns its size in bytes.

        It is JSON as `ingest.copernica.smtpeter.events` reads it. Of more than a month, SMTPeter silently gives
        a part: do not ask for more.

        Raises:
            SettingsError: the criterion cannot stand in a URL.
            Unreachable: no attempt got all of it.
            Unavailable: it cannot be written.
        """
        about = f"tell SMTPeter's events of {first} to {end}"
        request = Request("GET", criterion.path, about, criterion.params(first, end), large=True)
        check = partial(self._check, about=about, form="json")
        return await saved(self._transport, request, path, self._policy.download_timeout, check, progress)

    def _check(self, path: Path, about: str, form: Form) -> None:
        """Make sure that a download is what was asked for, and whole."""
        with path.open("rb") as file:
            start = file.read(MAX_REFUSAL).strip()
        if start.startswith(b"{") and start.endswith(b"}"):
            self._require_no_refusal(start, about)
        require_log_file(path, form)

    def _require_no_refusal(self, body: bytes, about: str) -> None:
        """A refusal can come with a status of success."""
        try:
            error = orjson.loads(body).get("error")
        except ValueError:
            return
        if error:
            said = self._transport.explained(message_in(body))
            raise RequestRejected(f"Copernica declines to {about}{said}.")
