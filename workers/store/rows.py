"""Turns events and calls into rows of the tables, and rows back into events.

Rows are tuples in the order of the table's columns, with times and JSON as text that both databases take: the
drain makes millions of them, and passes them to the driver as they are.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import orjson

from ingest.batch import Record, chunks, pack
from ingest.copernica.addresses import folded
from ingest.copernica.columns import fitting
from ingest.copernica.events import EPOCH, MICROS, Event, EventType, decode
from ingest.copernica.header_fields import unpack_headers
from workers.records import Quarantined
from workers.store.backend import INDEXED, Row

#: Most seconds whose text is remembered: the events of one drain cluster around the same ones.
REMEMBERED_SECONDS = 4096
#: Most minutes, where events are spread over a day, as those of a log file are.
REMEMBERED_MINUTES = 64
#: Where in a row of `events` its delivery id is, its type, its message, when it occurred and was received, its
#: mailing, and its source.
KEY, KIND, MESSAGE, MOMENT, RECEIVED, MAILING, SOURCE = 0, 1, 2, 3, 4, 14, 22


class Added(NamedTuple):
    """Of events and calls that were to be stored, how many are new, and how many are about erased people.

    `upgraded` are late calls, whose events had been recovered: their rows tell now what the calls do. The rest was
    there already.
    """

    new: int
    erased: int
    upgraded: int = 0

    def __add__(self, other: "Added") -> "Added":  # type: ignore[override]  # a sum, not one tuple after the other
        return Added._make(map(sum, zip(self, other, strict=True)))


def event_row(e: Event) -> Row:
    """A row of `events`."""
    return (
        e.delivery_id,
        e.type.value,
        e.message_id,
        stored_time(e.occurred_at),
        stored_time(e.received_at),
        e.recipient,
        e.ip,
        e.url,
        e.user_agent,
        e.referer,
        e.profile,
        e.subprofile,
        e.database,
        e.collection,
        e.mailing,
        e.code,
        e.extended,
        e.state,
        e.description,
        json_text(e.tags) if e.tags else "[]",
        json_text(e.payload),
        e.path,
        e.source,
        e.raw,
        e.raw_type,
        folded_recipient(e.recipient) if e.recipient else None,
    )


def oldest_second(rows: Sequence[Row], calls: Sequence[Record]) -> int:
    """When the first of these events and calls came in, in Unix seconds, by its delivery id."""
    ids = chain((row[KEY] for row in rows), (call.delivery_id for call in calls))
    return int.from_bytes(min(ids, default=b"\xff" * 4)[:4], "big")


def folded_recipient(recipient: str) -> str | None:
    """The recipient as it is compared; None if every database gets there by itself, as with nearly all."""
    if recipient.isascii() and recipient[:1] > " " and " " < recipient[-1:] != ">":
        return None
    return folded(recipient)[:INDEXED] or None


def event_of(row: Sequence[Any]) -> Event:
    """The event of a row of `events`, as it was when it was decoded."""
    # By position, in the order of the table and of Event: by name takes half as long again.
    (
        delivery_id,
        kind,
        message_id,
        occurred_at,
        received_at,
        *columns,
        tags,
        payload,
        path,
        source,
        raw,
        raw_type,
        _,
    ) = row
    received = micros(received_at)
    values = decode(raw, raw_type or "", path, received).payload if raw is not None else load(payload)
    head = delivery_id, EventType(kind), message_id, micros(occurred_at), received
    return Event._make((*head, *columns, load(tags), values, path, source, raw, raw_type))


def event_of_new(row: Row) -> Event:
    """The event of a row that `event_row` made."""
    return event_of(
        (*row[:MOMENT], *map(datetime.fromisoformat, row[MOMENT : RECEIVED + 1]), *row[RECEIVED + 1 :])
    )


def outbox_rows(events: Sequence[Row], calls: Mapping[bytes, Record]) -> list[dict[str, Any]]:
    """Rows of `outbox` for rows of `events`, each event once, by type, since handlers subscribe by type.

    `calls` are those that brought the events, by their delivery ids.
    """
    by_type: dict[str, dict[bytes, Record]] = {}
    for row in events:
        by_type.setdefault(row[KIND], {})[row[KEY]] = calls[row[KEY]]
    return [
        {"type": kind, "count": len(chunk), "packed": pack(chunk)}
        for kind, records in by_type.items()
        for chunk in chunks(list(records.values()))
    ]


def quarantine_row(call: Quarantined) -> Row:
    """A row of `quarantine`."""
    record = call.record
    return (
        record.delivery_id,
        stored_time(record.received_at),
        clean(record.target.decode("utf-8", "replace")),
        clean(record.content_type.decode("utf-8", "replace")),
        record.body,
        clean(call.reason),
    )


class Waiting(NamedTuple):
    """A call that waits to be verified, and the key of its row."""

    key: tuple[bytes, bytes]
    record: Record


def unverified_row(record: Record) -> Row:
    """A row of `unverified`."""
    # Few calls come here, and with it come libraries that most commands never need.
    from ingest.copernica.signature import identity  # noqa: PLC0415

    key_id, digest = identity(record.target, unpack_headers(record.headers), record.body)
    return (
        record.delivery_id,
        digest,
        stored_time(record.received_at),
        record.target,
        record.content_type,
        record.headers,
        record.body,
        clean(key_id),
    )


def unverified_call(row: Any) -> Waiting:
    """The call of a row of `unverified`."""
    record = Record(row.delivery_id, micros(row.received_at), row.path, row.content_type, row.body, row.headers)
    return Waiting((row.delivery_id, row.digest), record)


def clean(value: str) -> str:
    """The text, with characters that no text column can hold (NUL, lone surrogates) replaced."""
    return fitting(value)


def stored_time(moment: int) -> str:
    """A time in µs since 1970 as text: as SQLAlchemy stores a DateTime in SQLite; PostgreSQL reads it too."""
    second, micro = divmod(moment, MICROS)
    return f"{_stored_second(second)}.{micro:06d}"


@lru_cache(maxsize=REMEMBERED_SECONDS)
def _stored_second(second: int) -> str:
    minute, rest = divmod(second, 60)
    return f"{_stored_minute(minute)}:{rest:02}"


@lru_cache(maxsize=REMEMBERED_MINUTES)
def _stored_minute(minute: int) -> str:
    return datetime.fromtimestamp(60 * minute, UTC).strftime("%Y-%m-%d %H:%M")


def micros(moment: datetime) -> int:
    """A time in µs since 1970; one without a time zone is in UTC."""
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (zoned - EPOCH) // timedelta(microseconds=1)


def json_text(value: object) -> str:
    """JSON that every database takes. Whatever this changes is in `raw`, from which the event is read back."""
    try:
        dumped = orjson.dumps(value).decode()
    except TypeError:  # lone surrogates, which stand for bytes that are not text
        return _clean_json(value)
    return _clean_json(value) if "\\u0000" in dumped else dumped


def _clean_json(value: object) -> str:
    return json.dumps(_cleaned(value), ensure_ascii=False, separators=(",", ":"))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return fitting(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {_cleaned(name): _cleaned(item) for name, item in value.items()}
    return value


def load(value: Any) -> Any:
    """JSON arrives as text from SQLite, and parsed from PostgreSQL."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:  # nested deeper than orjson allows, or written by release 0.1
        return json.loads(value)
