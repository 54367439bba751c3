"""Copernica's log files as events: whatever is sent to webhooks is also written to files, one per kind and day.

A line becomes the fields that a webhook would have brought, and from there on it is read as one: what its columns
say stands in the same attributes, and the rest in `payload` under the column's own name. Two differences: nothing
is the same as an empty text, since CSV has no other way to say it; and a column whose name means something else in
a webhook has `log_` before it (`log_type` is the kind of an error, not that of the event).

Source: Copernica's articles on log files. The order of columns counts only in CSV without a header row: of some
Publisher kinds it is the best reading of a short table, and of most SMTPeter kinds it is not documented.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from ingest.copernica.events import (
    EPOCH,
    FIRST_SECOND,
    LAST_SECOND,
    LOGFILE,
    LOGGED_ONLY,
    MICROS,
    WIRE_NAMES,
    Event,
    EventType,
    event_of,
)  # fmt: skip
from ingest.copernica.logfiles import csv_rows, json_rows, xml_rows
from ingest.copernica.logfiles.rows import Damage, Row, blocks_of
from ingest.errors import LogFileError

__all__ = ["KINDS", "Damage", "Entry", "LogKind", "Outage", "named", "outages", "read"]

NO_ID = b"\0" * 12


class LogKind(NamedTuple):
    """What is in files of one prefix.

    `type` is None for the list of failed calls, which holds no events. `columns` are those of a CSV without a
    header row; none if their order is not documented. `twin` says whether webhooks bring the same event.
    """

    prefix: str
    type: EventType | None
    columns: tuple[str, ...]
    twin: bool


_PLACE = "countrycode countryname regioncode city"
_SUITE = "senderdomain profile subprofile template"
_PUBLISHER = "senderdomain groupid profile subprofile template document"

#: Prefix → type, then the columns in their order.
_TABLE: tuple[tuple[str, EventType | None, str], ...] = (
    ("cdm-impression", EventType.OPEN, f"id time ip header email tags {_PLACE} {_SUITE}"),
    (
        "cdm-click", EventType.CLICK,
        f"id senderdomain time linkinfo ip header email tags {_PLACE} profile subprofile template",
    ),
    ("cdm-delivery", EventType.DELIVERY, f"id time attempts email tags {_SUITE}"),
    ("cdm-error", EventType.FAILURE, f"id time type status description code email tags {_SUITE}"),
    ("cdm-abuse", EventType.ABUSE, f"id time mail email tags {_SUITE}"),
    ("cdm-unsubscribe", EventType.UNSUBSCRIBE, f"id time email tags {_SUITE}"),
    (
        "cdm-attempts", EventType.ATTEMPT,
        "id time mailingid profileid subprofileid databaseid collectionid senderdomain templateid tags email",
    ),
    ("cdm-retry", EventType.RETRY, f"id time attempt email tags {_SUITE}"),
    ("pom-impressions", EventType.OPEN, f"id time ip header email tags {_PLACE} {_PUBLISHER}"),
    ("pom-clicks", EventType.CLICK, f"id time ip header email tags {_PLACE} linkinfo {_PUBLISHER}"),
    ("pom-clicks-old", EventType.CLICK, f"id time ip header email tags {_PLACE} {_PUBLISHER}"),
    ("pom-deliveries", EventType.DELIVERY, f"id time attempts email tags {_PUBLISHER}"),
    ("pom-errors", EventType.FAILURE, f"id time type status description code content email tags {_PUBLISHER}"),
    ("pom-abuses", EventType.ABUSE, f"id time mail email tags {_PUBLISHER}"),
    ("pom-unsubscribes", EventType.UNSUBSCRIBE, f"id time email tags {_PUBLISHER}"),
    ("pom-attempts", EventType.ATTEMPT, f"id time email tags {_PUBLISHER}"),
    ("pom-retries", EventType.RETRY, f"id time attempt email tags {_PUBLISHER}"),
    (
        "opens", EventType.OPEN,
        "id time headers ip protocol tags recipient city countryname countrycode regioncode templateid",
    ),
    (
        "clicks", EventType.CLICK,
        "id time headers ip url destination tags recipient city countryname countrycode regioncode templateid",
    ),
    ("deliveries", EventType.DELIVERY, ""),
    ("failures", EventType.FAILURE, ""),
    ("bounces", EventType.BOUNCE, ""),
    ("abuses", EventType.ABUSE, ""),
    ("attempts", EventType.ATTEMPT, ""),
    ("dmarc", EventType.DMARC, ""),
    ("responses", EventType.RESPONSE, ""),
    ("feedback-loop-errors", None, "time response recipient header"),
)  # fmt: skip
#: Every kind of file, by its prefix.
KINDS: Mapping[str, LogKind] = {
    prefix: LogKind(prefix, kind, tuple(columns.split()), kind not in {*LOGGED_ONLY, None})
    for prefix, kind, columns in _TABLE
}

_NAME = re.compile(rf"({'|'.join(sorted(KINDS, key=len, reverse=True))})[._ -]+(\d{{4}}-\d\d-\d\d)(?!\d)")


def named(name: str) -> tuple[LogKind, date]:
    """The kind and the day that a file's name tells: `cdm-impression.2026-11-04.log.csv.gz`, path or not.

    Raises:
        LogFileError: it tells none.
    """
    found = _NAME.match(re.split(r"[/\\]", name)[-1])
    try:
        if found:
            return KINDS[found[1]], date.fromisoformat(found[2])
    except ValueError:
        pass  # the 31st of February
    raise LogFileError(
        f"{name!r} does not tell what it is: log files have names like cdm-impression.2026-11-04.log; "
        "or say it with --kind and --day."
    )


class Entry(NamedTuple):
    """An event and where it stands: in CSV the line on which it begins, else which record it is; both from 1."""

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
) -> Iterator[Entry | Damage]:
    """The events of a file, in CSV, JSON or XML, in constant memory.

    `zone` is that of the times in it. Where clocks are set, a time that they show twice or never is read as if
    they had not been yet. A CSV whose last line has no line end was cut off, unless the caller knows it to be
    `whole`. No form can tell a file of zero bytes from a day without events.

    `pick` is asked once for each row, in order; what it says no to is passed over, which takes a quarter of the
    time. Without it, each row is an entry or damaged, and the same one each time that a file is read.

    What cannot be read is `Damage`. Bytes that are not UTF-8 are none: they are kept as U+FFFD.
    """
    assert kind.type is not None, "`outages` reads the list of failed calls"
    wire_name = WIRE_NAMES[kind.type]
    known: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    second_of = _clock(zone)
    for row in _rows(stream, kind, whole):
        if pick is not None and not pick():
            continue
        if isinstance(row, Damage):
            yield row
            continue
        number, names, values = row
        if names is not known:  # in CSV they stay the same
            known, targets = names, _targets(kind.type, names)
        fields: dict[str, Any] = {name: value for name, value in zip(targets, values, strict=True) if value}
        second = second_of(fields.get("time", ""))
        if second is None:
            yield Damage(number, _no_time(fields.get("time")))
            continue
        fields["type"] = wire_name
        fields["time"] = second
        _tell(fields)
        yield Entry(number, event_of(fields, "", received_at, NO_ID, LOGFILE))


def outages(stream: BinaryIO, zone: tzinfo = UTC, whole: bool = False) -> Iterator[Outage | Damage]:
    """The failed calls in a file of the kind `feedback-loop-errors`; otherwise as `read`."""
    second_of = _clock(zone)
    for row in _rows(stream, KINDS["feedback-loop-errors"], whole):
        if isinstance(row, Damage):
            yield row
            continue
        number, names, values = row
        told = dict(zip(names, values, strict=True))
        second = second_of(told.get("time", ""))
        if second is None:
            yield Damage(number, _no_time(told.get("time")))
        else:
            about = (told.get(name, "") for name in ("response", "recipient", "header"))
            yield Outage(number, int(second) * MICROS, *about)


def _no_time(text: str | None) -> str:
    return f"{text[:30]!r} is no time" if text else "no time"


def _rows(stream: BinaryIO, kind: LogKind, whole: bool) -> Iterator[Row | Damage]:
    """The rows of a file in any of the forms; its first character tells which."""
    blocks = blocks_of(stream)
    first = next(blocks, b"")
    begin = first.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    blocks = chain((first,) if first else (), blocks)
    if begin == b"<":
        return xml_rows.rows(blocks)
    if begin in (b"[", b"{"):
        return json_rows.rows(blocks)
    return csv_rows.rows(blocks, kind.columns, whole)


# --- from columns to fields ---

#: Columns that tell what a webhook tells under another name.
_FIELDS: Mapping[str, str] = {
    "email": "recipient",
    "linkinfo": "original",
    "url": "original",
    "mailingid": "mailing",
    "profileid": "profile",
    "subprofileid": "subprofile",
    "databaseid": "database",
    "collectionid": "collection",
}
#: Fields that no column fills by its name: the kind of file says the type, and the header block the others.
_NOT_COLUMNS = frozenset({"type", "useragent", "referer", ""})
_EXTENDED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?")
_FOLD = re.compile(r"\r?\n[ \t]+")


@lru_cache(maxsize=256)
def _targets(kind: EventType, names: tuple[str, ...]) -> tuple[str, ...]:
    """The field that each column fills, no two the same."""
    # A webhook that calls itself an open and has a code is a delivery.
    taken = {*_NOT_COLUMNS, "code"} if kind is EventType.OPEN else {*_NOT_COLUMNS}
    targets = []
    for name in names:
        field = _FIELDS.get(name, name)
        if field in taken:
            field = name
        while field in taken:
            field = f"log_{field}"
        taken.add(field)
        targets.append(field)
    return tuple(targets)


def _tell(fields: dict[str, Any]) -> None:
    """Say what some columns hold in the way of webhooks."""
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


@lru_cache(maxsize=4096)
def _reader(block: str) -> Mapping[str, str]:
    """What the header block of a request says of who read the message. Of a repeated header, the first counts."""
    found: dict[str, str] = {}
    for line in _FOLD.sub(" ", block).splitlines():
        name, _, value = line.partition(":")
        field = {"user-agent": "useragent", "referer": "referer"}.get(name.strip().lower())
        if field and value.strip():
            found.setdefault(field, value.strip())
    return found


def _clock(zone: tzinfo) -> Callable[[str], str | None]:
    """What turns a time into Unix seconds, as a webhook has them; None if it is none or beyond belief."""

    @lru_cache(maxsize=4096)
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
