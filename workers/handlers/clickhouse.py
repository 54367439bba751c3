"""The built-in handler that puts events into a table of ClickHouse, over its HTTP interface.

`INGEST_CLICKHOUSE_URL=https://user:password@host:8443/database/table#types=open|click&timeout=60`; options come
after `#`, as those of forward targets. A row is one event as `ingest events --format jsonl` prints it. The table
keeps one row per delivery id (`ReplacingMergeTree`), so what is inserted twice counts once: see `ClickHouse.ddl`.

    it answers 200, having inserted all        done (a 200 of something else than ClickHouse is no answer)
    an error about the rows                    tried again in halves; alone, a dead letter at once
    anything else, or no answer                all of them later
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import aiohttp

from ingest.copernica.events import MICROS, Event
from ingest.errors import SettingsError, Unavailable
from ingest.settings import Settings
from workers.handlers.forward import Options, authorization
from workers.handlers.options import MAX_BATCH
from workers.handlers.registry import GiveUp, Handler, TryLater
from workers.operations.exporting import as_row
from workers.store.rows import json_text

#: The name of the handler.
NAME = "clickhouse"
#: Rows from which on an insert makes a part of the table by itself. Smaller ones, of all workers, ClickHouse
#: gathers, and answers when they are inserted.
OWN_PART = 5_000
#: Seconds that a question of `ingest check`, or a table, may take.
PATIENCE = 10.0
#: How headers begin that every answer of ClickHouse has one of.
OURS = "x-clickhouse-"
#: The table and database where none is named.
TABLE_NAME, DATABASE = "events", "default"
#: Codes of errors that are about the rows: they cannot be parsed, or have values that no column takes.
ABOUT_ROWS = frozenset({6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 469, 691})

#: The columns, with their types; the delivery id in hex, as everywhere that people see it.
COLUMNS: Mapping[str, str] = {
    "delivery_id": "FixedString(24)",
    "type": "LowCardinality(String)",
    "message_id": "Nullable(String)",
    "occurred_at": "DateTime64(6, 'UTC')",
    "received_at": "DateTime64(6, 'UTC')",
    "recipient": "Nullable(String)",
    "ip": "Nullable(String)",
    "url": "Nullable(String)",
    "user_agent": "LowCardinality(Nullable(String))",
    "referer": "Nullable(String)",
    "profile": "Nullable(Int64)",
    "subprofile": "Nullable(Int64)",
    "database": "Nullable(Int64)",
    "collection": "Nullable(Int64)",
    "mailing": "Nullable(Int64)",
    "code": "Nullable(Int64)",
    "extended": "LowCardinality(Nullable(String))",
    "state": "LowCardinality(Nullable(String))",
    "description": "Nullable(String)",
    "tags": "Array(LowCardinality(String))",
    "payload": "String",
    "path": "LowCardinality(String)",
    "source": "LowCardinality(String)",
    "raw": "Nullable(String)",
    "raw_type": "LowCardinality(Nullable(String))",
}
#: The month of the call's time, with which its id begins: the same each time that it is inserted, as it has to be
#: for two rows of one id ever to become one.
_MONTH = "toYYYYMM(toDateTime(reinterpretAsUInt32(reverse(unhex(substring(delivery_id, 1, 8)))), 'UTC'))"

_URL = re.compile(r"(https?)://(?:([^/?#]*)@)?([^/?#@]+)/?([^#]*)(?:#(.*))?", re.IGNORECASE)
#: An error that came up after it had answered 200.
_LATE = re.compile(rb"Code: ([0-9]+)\. DB::Exception")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class NotClickHouse(aiohttp.ClientError):
    """Something else answered 200, as any web server may: what it was sent is nowhere."""


@dataclass(slots=True)
class ClickHouse:
    """A table, and the connections to it while a job runs."""

    origin: str
    database: str
    table: str
    authorization: str | None
    options: Options
    session: aiohttp.ClientSession | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> Self:
        """The table of a URL.

        Raises:
            SettingsError: it, or one of its options, is invalid; the message does not quote it.
        """
        match = _URL.fullmatch(url)
        if match is None or not url.isprintable():
            raise SettingsError(
                "INGEST_CLICKHOUSE_URL is not a URL: write https://user:password@host:8443/database/table."
            )
        scheme, userinfo, host, path, fragment = match.groups()
        names = [unquote(part) for part in path.strip("/").split("/") if part]
        database, table = [*names, *[DATABASE, TABLE_NAME][len(names) :]][:2] if len(names) < 3 else ("", "")
        if not (_WORD.fullmatch(database) and _WORD.fullmatch(table)):
            raise SettingsError(
                "INGEST_CLICKHOUSE_URL: behind the host write /database/table, of letters, digits and _."
            )
        try:
            options = Options.parse(fragment or "")
            if not urlsplit(f"//{host}").hostname or urlsplit(f"//{host}").port == 0:
                raise ValueError("there is no host")
        except ValueError as error:
            raise SettingsError(f"INGEST_CLICKHOUSE_URL is invalid: {error}.") from None
        who = authorization("INGEST_CLICKHOUSE_URL", userinfo)
        return cls(f"{scheme.lower()}://{host}/", database, table, who, options)

    @property
    def shown(self) -> str:
        """The table for messages: without anything secret."""
        return f"{self.origin}{self.database}/{self.table}"

    @property
    def ddl(self) -> str:
        """What makes the table."""
        columns = ",\n".join(f"    {name} {kind}" for name, kind in COLUMNS.items())
        return (
            f"CREATE TABLE IF NOT EXISTS {self.database}.{self.table} (\n{columns},\n"
            "    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3),\n"
            "    INDEX by_time occurred_at TYPE minmax GRANULARITY 1,\n"
            "    INDEX by_recipient recipient TYPE bloom_filter GRANULARITY 4\n"
            ") ENGINE = ReplacingMergeTree(inserted_at)\n"
            f"PARTITION BY {_MONTH}\nORDER BY delivery_id"
        )

    async def insert(self, events: Sequence[Event]) -> None:
        """Insert events; returns when they are inserted.

        Raises:
            TryLater: ClickHouse has a problem, or cannot be reached.
            GiveUp: it does not take one of these events.
        """
        gathers = len(events) < OWN_PART
        settings = {
            "async_insert": "1" if gathers else "0",
            "wait_for_async_insert": "1",
            "wait_end_of_query": "1",
            "date_time_input_format": "best_effort",
            "input_format_skip_unknown_fields": "0",
        }
        names = ", ".join(COLUMNS)
        query = f"INSERT INTO {self.database}.{self.table} ({names}) FORMAT JSONEachRow"  # our names
        body = b"\n".join(map(row, events))
        try:
            code, _ = await self._ask(query, body, settings, self.options.timeout)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TryLater(f"ClickHouse does not answer: {type(error).__name__}") from None
        if code in ABOUT_ROWS:
            raise GiveUp(f"ClickHouse does not take it (its code {code})")
        if code:
            raise TryLater(f"ClickHouse refuses it (its code {code})")

    async def close(self) -> None:
        """Close the connections."""
        if self.session is not None:
            await self.session.close()
            self.session = None

    async def create(self) -> None:
        """Make the table, unless it is there.

        Raises:
            Unavailable: that cannot be done.
        """
        await self._required(self.ddl)

    async def try_out(self) -> None:
        """See that the table is there with its columns, and that we may insert into it, by inserting nothing.

        Raises:
            Unavailable: one of these is not so.
        """
        where = f"database = '{self.database}' AND table = '{self.table}'"
        query = f"SELECT name FROM system.columns WHERE {where} FORMAT TSV"  # noqa: S608  # our names
        there = set((await self._required(query)).decode("utf-8", "replace").split())
        if not there:
            raise Unavailable(f"There is no table {self.shown}: make it with `ingest clickhouse --create`.")
        if lacking := [name for name in COLUMNS if name not in there]:
            raise Unavailable(
                f"{self.shown} lacks the columns {', '.join(lacking)}: `ingest clickhouse` shows them."
            )
        names = ", ".join(COLUMNS)
        await self._required(f"INSERT INTO {self.database}.{self.table} ({names}) FORMAT JSONEachRow")

    async def _required(self, query: str) -> bytes:
        try:
            code, answer = await self._ask(query, b"", {"wait_end_of_query": "1"}, PATIENCE)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(
                f"{self.shown} does not answer ({type(error).__name__}): see that it runs and "
                "INGEST_CLICKHOUSE_URL is right."
            ) from None
        finally:
            await self.close()
        if code:
            raise Unavailable(f"{self.shown} refuses us (code {code}{_MEANING.get(code, '')}).")
        return answer

    async def _ask(
        self, query: str, body: bytes, settings: Mapping[str, str], timeout: float
    ) -> tuple[int, bytes]:
        """Ask it; returns the code of its error, 0 if there is none, and its answer."""
        if self.session is None:
            self.session = aiohttp.ClientSession()
        headers = {} if self.authorization is None else {"Authorization": self.authorization}
        limit = aiohttp.ClientTimeout(total=timeout)
        async with self.session.post(
            self.origin,
            params={**settings, "query": query},
            data=io.BytesIO(body),
            headers=headers,
            timeout=limit,
            allow_redirects=False,
        ) as answer:
            said = answer.headers.get("X-ClickHouse-Exception-Code", "")
            text = await answer.read()
            if said.isdecimal():
                return int(said), text
            if answer.status != 200:
                return -answer.status, text
            if not any(name.lower().startswith(OURS) for name in answer.headers):
                raise NotClickHouse
            late = _LATE.search(text)
            return (int(late[1]) if late else 0), text


#: What the codes mean that an operator can do something about.
_MEANING = {
    60: ": there is no such table",
    81: ": there is no such database",
    192: ": unknown user",
    193: ": wrong password",
    497: ": the user may not do this",
    516: ": wrong user or password",
}


def row(event: Event) -> bytes:
    """An event as a row of the table; what no text can hold is replaced."""
    values: dict[str, Any] = as_row(event)
    values["payload"] = json_text(event.payload)
    for name in ("occurred_at", "received_at"):
        moment = getattr(event, name)
        # With fewer than nine digits it would be read as a date, such as 20201231.
        values[name] = f"{moment // MICROS:010d}.{moment % MICROS:06d}"
    return json_text(values).encode()


def handlers(settings: Settings) -> list[Handler]:
    """The handler, if there is a table.

    Raises:
        SettingsError: its URL is invalid.
    """
    if settings.clickhouse_url is None:
        return []
    table = ClickHouse.of(settings.clickhouse_url)
    return [table.options.handler(NAME, table.insert, MAX_BATCH, table.close)]
