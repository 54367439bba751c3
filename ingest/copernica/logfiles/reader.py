"""Copernica's log files as events: whatever is sent to webhooks is also written to files, one per kind and day.

A line becomes the fields that a webhook would have brought, and from there on it is read as one: what its columns
say is in the same attributes, and the rest in `payload` under the column's own name. There are two differences: an
empty text counts as absent, since CSV has no other way to say so; and a column whose name means something else in
a webhook has `log_` before it (`log_type` is the kind of an error, not that of the event).

The facts come from Copernica's articles on log files.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

from ingest.copernica.events import (
    EPOCH,
    FIRST_SECOND,
    LAST_SECOND,
    LOGFILE,
    MICROS,
    WIRE_NAMES,
    Event,
    EventType,
    event_of,
)
from ingest.copernica.logfiles import csv_rows, json_rows, spreadsheets, xml_rows
from ingest.copernica.logfiles.kinds import FAILED_CALLS, KINDS, LogKind, misnamed, spelled
from ingest.copernica.logfiles.rows import Damage, Row, Unreadable
from ingest.copernica.logfiles.text import Encoding, begun, decoded, encoding_of

#: The delivery id of an event that was not given one yet.
NO_ID = b"\0" * 12


class Entry(NamedTuple):
    """An event and where it is: in CSV the line on which it begins, else the number of its record; both from 1."""

    number: int
    event: Event


class Outage(NamedTuple):
    """A call that your endpoint did not take: when (µs since 1970), what it answered, and what Copernica noted."""

    number: int
    moment: int
    response: str
    recipient: str
    header: str


def read(
    stream: BinaryIO,
    kind: LogKind,
    zone: tzinfo = UTC,
    received_at: int = 0,
    whole: bool = False,
    pick: Callable[[], bool] | None = None,
    encoding: Encoding | None = None,
) -> Iterator[Entry | Damage]:
    """The events of a file, in CSV, JSON or XML, in constant memory.

    `zone` is that of the times in it. When clocks change, a time that occurs twice is read as its first
    occurrence, and one that never occurs as if the clocks had not changed yet. A CSV whose last line has no line
    end was cut off, unless the caller knows it to be `whole`. No form can distinguish a file of zero bytes from a
    day without events.

    `pick` is called once for each row, in order; a row for which it returns False is skipped, which takes a
    quarter of the time. Without it, each row is an entry or damaged, and the same one every time a file is read.

    `encoding` is that of the file, if it is known; without it, the file is looked through first. What cannot be
    read is `Damage`.

    Raises:
        ValueError: the kind is the list of failed calls, which `outages` reads.
    """
    if kind.type is None:
        raise ValueError(f"{kind.prefix} files contain no events")
    known: tuple[str, ...] | None = None
    columns = _Columns((), "")
    second_of = _clock(zone)
    for row in _rows(stream, kind, whole, encoding):
        if pick is not None and not pick():
            continue
        if isinstance(row, Damage):
            yield row
            continue
        number, names, values = row
        if names is not known:  # in CSV they stay the same
            known, columns = names, _columns(kind, names)
        fields = columns.filled(values)
        second = second_of(fields.get("time", ""))
        if columns.fault or second is None:
            yield Damage(number, columns.fault or _time_fault(fields.get("time")))
            continue
        _translate(fields, WIRE_NAMES[kind.type], second)
        yield Entry(number, event_of(fields, "", received_at, NO_ID, LOGFILE))


def outages(
    stream: BinaryIO, zone: tzinfo = UTC, whole: bool = False, encoding: Encoding | None = None
) -> Iterator[Outage | Damage]:
    """The failed calls in a file of the kind `feedback-loop-errors`; otherwise as `read`."""
    second_of = _clock(zone)
    for row in _rows(stream, KINDS[FAILED_CALLS], whole, encoding):
        if isinstance(row, Damage):
            yield row
            continue
        number, names, values = row
        columns = dict(zip(spelled(names), values, strict=True))
        second = second_of(columns.get("time", ""))
        if second is None:
            yield Damage(number, _time_fault(columns.get("time")))
        else:
            about = (columns.get(name, "") for name in ("response", "recipient", "header"))
            yield Outage(number, int(second) * MICROS, *about)


def unusable(stream: BinaryIO, kind: LogKind, whole: bool = False, encoding: Encoding | None = None) -> str:
    """Why nothing of a file can be read as this kind, as its beginning shows; empty if something may be."""
    first = next(_rows(stream, kind, whole, encoding), None)
    if isinstance(first, Damage):
        return first.reason if first.whole else ""
    return misnamed(spelled(first[1]), kind) if first else ""


def _time_fault(text: str | None) -> str:
    if not text:
        return "no time"
    resaved = spreadsheets.resaved_time(text)
    return f"{text[:30]!r} is not a valid time" + (f": {resaved}" if resaved else "")


def _rows(stream: BinaryIO, kind: LogKind, whole: bool, encoding: Encoding | None) -> Iterator[Row | Damage]:
    """The rows of a file in any of the forms, which its first character tells apart."""
    try:
        encoding = encoding or encoding_of(stream)
    except Unreadable as error:
        return iter((Damage(1, str(error), whole=True),))
    start, blocks = begun(stream)
    text = start.decode("utf-16", "ignore") if encoding is Encoding.UTF_16 else start.decode("latin-1")
    begin = text.lstrip(_BLANKS)[:1]
    if begin == "<":
        if why := xml_rows.of_another_program(text):
            return iter((Damage(1, why, whole=True),))
        declared = encoding not in (Encoding.UTF_8, Encoding.UTF_16) and bool(_DECLARED.match(start))
        if encoding is Encoding.UTF_8 or declared:
            return xml_rows.rows(blocks, declared)
        return xml_rows.rows(map(str.encode, decoded(blocks, encoding)), declared=False)
    texts = decoded(blocks, encoding)
    return json_rows.rows(texts) if begin in ("[", "{") else csv_rows.rows(texts, kind, whole)


#: Blanks, and the mark of UTF-8 as bytes and as a character.
_BLANKS = " \t\r\n\ufeff\u00ef\u00bb\u00bf"
#: An XML declaration that names another encoding than ours.
_DECLARED = re.compile(rb"\s*<\?xml[^>]{0,99}encoding\s*=\s*[\"'](?!utf-?8[\"'])", re.IGNORECASE)


# --- from columns to fields ---

#: The field for which link was followed: Copernica's articles on log files have its number, others its address.
LINK_ID = "link_id"
#: Columns that a webhook has under another name.
_FIELDS: Mapping[str, str] = {
    "email": "recipient",
    "linkinfo": LINK_ID,
    "url": "original",
    "mailingid": "mailing",
    "profileid": "profile",
    "subprofileid": "subprofile",
    "databaseid": "database",
    "collectionid": "collection",
}
#: The same where a kind of file means something else by the name: the reporter of a DMARC report is no recipient.
_OTHER_FIELDS: Mapping[EventType, Mapping[str, str]] = {EventType.DMARC: {**_FIELDS, "email": "email"}}
#: Fields that no column fills by its name: the type comes from the kind of file, the others from the header block.
_NOT_COLUMNS = frozenset({"type", "useragent", "referer", ""})
_EXTENDED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?")
_FOLD = re.compile(r"\r?\n[ \t]+")
#: What can be the address of a link: it has a scheme, or at least a dot or a slash. A number has none.
_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|[^./]*[./]")


class _Columns(NamedTuple):
    """What the columns of a file mean: the field that each fills, no two the same, or why they mean nothing."""

    targets: tuple[str, ...]
    fault: str

    def filled(self, values: Sequence[str]) -> dict[str, Any]:
        """The fields that a row fills."""
        return {name: value for name, value in zip(self.targets, values, strict=True) if value}


@lru_cache(maxsize=256)  # a file has one set of columns; JSON and XML may have some more
def _columns(kind: LogKind, names: tuple[str, ...]) -> _Columns:
    names = spelled(names)
    # A webhook that calls itself an open and has a code is a delivery.
    taken = {*_NOT_COLUMNS, "code"} if kind.type is EventType.OPEN else {*_NOT_COLUMNS}
    fields = _OTHER_FIELDS.get(kind.type, _FIELDS) if kind.type else _FIELDS
    targets = []
    for name in names:
        field = fields.get(name, name)
        if field in taken:
            field = name
        while field in taken:
            field = f"log_{field}"
        taken.add(field)
        targets.append(field)
    return _Columns(tuple(targets), misnamed(names, kind))


def _translate(fields: dict[str, Any], wire_name: str, second: str) -> None:
    """Put what some columns hold in the way of webhooks: links, tags, the header block, the extended status."""
    fields["type"] = wire_name
    fields["time"] = second
    link = fields.get(LINK_ID)
    if link and "original" not in fields and _LINK.match(link):
        fields["original"] = fields.pop(LINK_ID)
    if "tags" in fields:
        fields["tags"] = [tag for tag in fields["tags"].split(";") if tag]
        if not fields["tags"]:
            del fields["tags"]
    block = fields.get("header") or fields.get("headers")
    if block:
        fields.update(_reader(block))
    status = fields.get("status")
    if status and "extended" not in fields and _EXTENDED.fullmatch(status):
        fields["extended"] = fields.pop("status")


@lru_cache(maxsize=4096)  # mail programs send the same few blocks
def _reader(block: str) -> Mapping[str, str]:
    """What the header block of a request says about who read the message; the first of repeated headers counts."""
    fields: dict[str, str] = {}
    for line in _FOLD.sub(" ", block).splitlines():
        name, _, value = line.partition(":")
        field = {"user-agent": "useragent", "referer": "referer"}.get(name.strip().lower())
        if field and value.strip():
            fields.setdefault(field, value.strip())
    return fields


def _clock(zone: tzinfo) -> Callable[[str], str | None]:
    """A function that turns a time into Unix seconds, as webhooks have them; None if it is not a credible time."""

    @lru_cache(maxsize=4096)  # the lines of one second share it
    def second_of(text: str) -> str | None:
        if not _TIME.fullmatch(text):
            return None
        try:
            moment = datetime.fromisoformat(text)
            second = ((moment if moment.tzinfo else moment.replace(tzinfo=zone)) - EPOCH) // timedelta(seconds=1)
        except (ValueError, OverflowError):
            return None
        return str(second) if FIRST_SECOND < second < LAST_SECOND else None

    return second_of
