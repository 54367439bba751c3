"""Copernica's log files as events: whatever is sent to webhooks is also written to files, one per kind and day.

A line becomes the fields that a webhook would have brought, and from there on it is read as one: what its columns
say is in the same attributes, and the rest in `payload` under the column's own name. There are two differences: an
empty text counts as absent, since CSV has no other way to say so; and a column whose name means something else in
a webhook has `log_` before it (`log_type` is the kind of an error, not that of the event).

The facts come from Copernica's articles on log files.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache, partial
from itertools import chain
from operator import itemgetter
from typing import BinaryIO, NamedTuple, cast

from ingest.copernica.events import (
    EPOCH,
    FIRST_SECOND,
    LAST_SECOND,
    LOGFILE,
    MICROS,
    Event,
    EventType,
    event_of,
)
from ingest.copernica.logfiles import csv_rows, json_rows, spreadsheets, xml_rows
from ingest.copernica.logfiles.fields import LINK, Columns, columns_of, translate
from ingest.copernica.logfiles.kinds import FAILED_CALLS, KINDS, LogKind, misnamed, spelled
from ingest.copernica.logfiles.rows import Damage, Row, Rows, Unreadable, together
from ingest.copernica.logfiles.text import Encoding, begun, decoded, encoding_of, mark_size

#: The delivery id of an event that was not given one yet.
NO_ID = b"\0" * 12


class Entry(NamedTuple):
    """An event and where it is: in CSV the line on which it begins, else the number of its record; both from 1."""

    number: int
    event: Event


class Said(NamedTuple):
    """What a line says of an event that tells it from others: what the event's attributes would be, empty if None.

    `link_id` is the number of a link without an address. `begin` and `end` are as of `Rows`.
    """

    number: int
    second: int
    message_id: str
    recipient: str
    ip: str
    url: str
    link_id: str
    begin: int
    end: int


class Portion(NamedTuple):
    """What lines that follow each other say, as of `Said`: column by column, since millions are read."""

    numbers: Sequence[int]
    seconds: Sequence[int]
    message_ids: Sequence[str]
    recipients: Sequence[str]
    ips: Sequence[str]
    urls: Sequence[str]
    link_ids: Sequence[str]
    begins: Sequence[int]
    ends: Sequence[int]

    def each(self) -> Iterator[Said]:
        """What one line says after the other."""
        return map(Said._make, zip(*self, strict=True))

    def divided(self, at: Iterable[int]) -> "Iterator[Portion | int]":
        """What lies between the lines in these places, and in its turn the place of each of those."""
        begin = 0
        for place in at:
            if place > begin:
                yield Portion._make(column[begin:place] for column in self)
            yield place
            begin = place + 1
        if begin < len(self.seconds):
            yield Portion._make(column[begin:] for column in self)


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
    _type_of(kind)
    return _entries(_each(_picked(_rows(stream, kind, whole, encoding), pick)), kind, zone, received_at)


def read_again(
    texts: Iterable[str], kind: LogKind, names: tuple[str, ...], zone: tzinfo = UTC, received_at: int = 0
) -> Iterator[Entry | Damage]:
    """The events of rows cut out of a CSV where `Lines` told that they stand, as `read` reads them there."""
    return _entries(_each(csv_rows.rows_again(texts, kind, names)), kind, zone, received_at)


def _picked(parts: Iterator[Rows | Damage], pick: Callable[[], bool] | None) -> Iterator[Rows | Damage]:
    return parts if pick is None else _chosen(parts, pick)


def _chosen(parts: Iterator[Rows | Damage], pick: Callable[[], bool]) -> Iterator[Rows | Damage]:
    for part in parts:
        if isinstance(part, Damage):
            if pick():
                yield part
        elif places := [place for place in range(len(part.values)) if pick()]:
            yield part.at(places) if len(places) < len(part.values) else part


def _each(parts: Iterable[Rows | Damage]) -> Iterator[Row | Damage]:
    return chain.from_iterable((part,) if isinstance(part, Damage) else part.each() for part in parts)


def _type_of(kind: LogKind) -> EventType:
    if kind.type is None:
        raise ValueError(f"{kind.prefix} files contain no events")
    return kind.type


def _entries(
    rows: Iterable[Row | Damage], kind: LogKind, zone: tzinfo, received_at: int
) -> Iterator[Entry | Damage]:
    type_ = _type_of(kind)
    known: tuple[str, ...] | None = None
    columns = Columns((), "", ())
    second_of = clock(zone)
    for row in rows:
        if isinstance(row, Damage):
            yield row
            continue
        number, names, values = row
        if names is not known:  # in CSV they stay the same
            known, columns = names, columns_of(kind, names)
        fields = columns.filled(values)
        second = second_of(fields.get("time", ""))
        if columns.fault or second is None:
            yield Damage(number, columns.fault or _time_fault(fields.get("time")))
            continue
        translate(fields, type_, second)
        yield Entry(number, event_of(fields, "", received_at, NO_ID, LOGFILE))


class Lines:
    """What the lines of a file say, or the damage: each in the place where `read` has its entry or the damage.

    Takes a quarter of the time of `read`, as far as the file's form allows, since no event is made. The arguments
    are those of `read`.
    """

    def __init__(
        self,
        stream: BinaryIO,
        kind: LogKind,
        zone: tzinfo = UTC,
        whole: bool = False,
        pick: Callable[[], bool] | None = None,
        encoding: Encoding | None = None,
    ) -> None:
        _type_of(kind)
        self._kind = kind
        self._second_of = clock(zone)
        self._begun = partial(_rows, stream, kind, whole, encoding)
        self._pick = pick
        #: The columns of the rows that were read last: in CSV, of all.
        self.names: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Said | Damage]:
        """What each line says."""
        return chain.from_iterable(
            (part,) if isinstance(part, Damage) else part.each() for part in self.portions()
        )

    def portions(self) -> Iterator[Portion | Damage]:
        """The same of many lines at once."""
        columns = Columns((), "", ())
        for part in _picked(self._begun(), self._pick):
            if isinstance(part, Damage):
                yield part
                continue
            if part.names != self.names:
                self.names, columns = part.names, columns_of(self._kind, part.names)
            if columns.fault or not columns.said:
                reason = columns.fault or _time_fault(None)
                yield from (Damage(number, reason) for number in part.numbers)
            else:
                yield from self._portions(part, columns.said)

    def _portions(self, rows: Rows, places: Iterable[int | None]) -> Iterator[Portion | Damage]:
        nothing = [""] * len(rows.values)
        times, ids, recipients, ips, urls, links = (
            nothing if place is None else list(map(itemgetter(place), rows.values)) for place in places
        )
        seconds = list(map(self._second_of, times))
        if any(links):
            urls = list(urls)
            for place, (url, link) in enumerate(zip(urls, links, strict=True)):
                if link and not url and LINK.match(link):
                    urls[place], links[place] = link, ""
        said = ids, recipients, ips, urls, links, rows.begins, rows.ends
        whole = Portion(rows.numbers, cast(list[int], seconds), *said)
        if None not in seconds:
            yield whole
            return
        for part in whole.divided(place for place, second in enumerate(seconds) if second is None):
            yield part if isinstance(part, Portion) else Damage(rows.numbers[part], _time_fault(times[part]))


def outages(
    stream: BinaryIO, zone: tzinfo = UTC, whole: bool = False, encoding: Encoding | None = None
) -> Iterator[Outage | Damage]:
    """The failed calls in a file of the kind `feedback-loop-errors`; otherwise as `read`."""
    second_of = clock(zone)
    for row in _each(_rows(stream, KINDS[FAILED_CALLS], whole, encoding)):
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
            yield Outage(number, second * MICROS, *about)


def unusable(stream: BinaryIO, kind: LogKind, whole: bool = False, encoding: Encoding | None = None) -> str:
    """Why nothing of a file can be read as this kind, as its beginning shows; empty if something may be."""
    first = next(_rows(stream, kind, whole, encoding), None)
    if isinstance(first, Damage):
        return first.reason if first.whole else ""
    return misnamed(spelled(first.names), kind) if first else ""


def _time_fault(text: str | None) -> str:
    if not text:
        return "no time"
    resaved = spreadsheets.resaved_time(text)
    return f"{text[:30]!r} is not a valid time" + (f": {resaved}" if resaved else "")


def _rows(stream: BinaryIO, kind: LogKind, whole: bool, encoding: Encoding | None) -> Iterator[Rows | Damage]:
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
            return together(xml_rows.rows(blocks, declared))
        return together(xml_rows.rows(map(str.encode, decoded(blocks, encoding)), declared=False))
    texts = decoded(blocks, encoding)
    if begin in ("[", "{"):
        return together(json_rows.rows(texts))
    return csv_rows.rows(texts, kind, whole, mark_size(start) if encoding is Encoding.UTF_8 else None)


#: Blanks, and the mark of UTF-8 as bytes and as a character.
_BLANKS = " \t\r\n\ufeff\u00ef\u00bb\u00bf"
#: An XML declaration that names another encoding than ours.
_DECLARED = re.compile(rb"\s*<\?xml[^>]{0,99}encoding\s*=\s*[\"'](?!utf-?8[\"'])", re.IGNORECASE)


#: The characters of a time as Copernica writes it, and what its last three can be.
_WRITTEN = len("2026-11-20 09:00:00")
_SECONDS = {f":{second:02}": second for second in range(60)}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?")


def clock(zone: tzinfo) -> Callable[[str], int | None]:
    """A function that turns a time into Unix seconds, as webhooks have them; None if it is not a credible time."""

    def read_second(text: str) -> int | None:
        if not _TIME.fullmatch(text):
            return None
        try:
            moment = datetime.fromisoformat(text)
            second = ((moment if moment.tzinfo else moment.replace(tzinfo=zone)) - EPOCH) // timedelta(seconds=1)
        except (ValueError, OverflowError):
            return None
        return second if FIRST_SECOND < second < LAST_SECOND else None

    @lru_cache(maxsize=64)
    def minute_of(text: str) -> int | None:
        """The first second of a minute; None if it does not have 60, as when the clock of a zone changes in it."""
        first, last = read_second(f"{text}:00"), read_second(f"{text}:59")
        return first if first is not None and last == first + 59 else None

    @lru_cache(maxsize=4096)  # the lines of one second share it
    def second_of(text: str) -> int | None:
        # Those of one minute share what takes long.
        if len(text) == _WRITTEN and (second := _SECONDS.get(text[-3:])) is not None:
            minute = minute_of(text[:-3])
            if minute is not None:
                return minute + second
        return read_second(text)

    return second_of
