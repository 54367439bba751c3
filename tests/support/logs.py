"""Days of events for tests of reconciliation: what happened, as calls and as log files."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import NamedTuple
from urllib.parse import urlencode

from ingest.copernica.events import MICROS, Event, decode
from ingest.copernica.logfiles.fields import LINK_ID
from ingest.copernica.logfiles.kinds import KINDS
from ingest.copernica.logfiles.reader import Portion, Said
from workers.reconcile.logfile import LogFile
from workers.store.filters import Filter
from workers.store.store import Store

FORM = "application/x-www-form-urlencoded"
DAY = date(2026, 11, 20)
#: Its first second.
START = 1_795_132_800


class Happened(NamedTuple):
    """One thing that happened: its kind of log file, and what both sides tell of it."""

    prefix: str
    second: int
    message: str
    recipient: str
    ip: str
    link: str

    @property
    def type(self) -> str:
        kind = KINDS[self.prefix].type
        assert kind is not None
        return kind.value

    @property
    def key(self) -> tuple[object, ...]:
        """What the store says of it, whichever side it came from: see `key_of`."""
        read_by = self.ip if self.type in ("open", "click") else None
        link = self.link if self.type == "click" else None
        if self.type in ("abuse", "unsubscribe"):
            return self.type, self.message, None, None, None, None
        return self.type, self.message, START + self.second, self.recipient, read_by, link

    def call(self, number: int) -> Event:
        """The event as its webhook brings it, as documented: complaints tell neither time nor recipient."""
        fields: dict[str, object] = {"id": self.message, "type": self.type}
        second = START + self.second
        if self.type == "abuse":
            fields |= {"emailfrom": self.recipient, "mime": "From: isp@example.net\r\n"}
        else:
            stamp = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S}"
            fields |= {"timestamp": stamp, "time": second}
        if self.type == "unsubscribe":
            fields |= {"database": 7, "profile": 4711, "mailing": 90210}
        elif self.type != "abuse":
            fields["recipient"] = self.recipient
        if self.type in ("open", "click"):
            fields |= {"ip": self.ip, "useragent": "Mozilla/5.0"}
        if self.type == "click":
            fields["original"] = self.link
        name = second.to_bytes(4, "big") + number.to_bytes(8, "big")
        return decode(urlencode(fields).encode(), FORM, "/copernica", second * MICROS + 350_000, name)

    def line(self) -> dict[str, str]:
        """The same as its line in a log file."""
        known = {
            "id": self.message,
            "time": f"{datetime.fromtimestamp(START + self.second, UTC):%Y-%m-%d %H:%M:%S}",
            "email": self.recipient,
            "ip": self.ip,
            "linkinfo": self.link,
            "header": "User-Agent: Mozilla/5.0\r\nAccept: */*",
            "tags": "nieuwsbrief;november",
        }
        return {column: known.get(column, "") for column in KINDS[self.prefix].columns}


def said_by(event: Event, number: int = 0, begin: int = 0, end: int = 0) -> Said:
    """What the line says that became an event."""
    return Said(
        number,
        event.occurred_at // MICROS,
        event.message_id or "",
        event.recipient or "",
        event.ip or "",
        event.url or "",
        event.payload.get(LINK_ID) or "",
        begin,
        end,
    )


def portion_of(events: Iterable[Event]) -> Portion:
    """What the lines say that became these events."""
    said = list(map(said_by, events))
    return Portion._make([one[place] for one in said] for place in range(len(Said._fields)))


def key_of(event: Event) -> tuple[object, ...]:
    """What both sides tell of an event, so that one can be compared with what happened."""
    if event.type in ("abuse", "unsubscribe"):
        return event.type.value, event.message_id, None, None, None, None
    second = event.occurred_at // MICROS
    return event.type.value, event.message_id, second, event.recipient, event.ip, event.url


def csv_of(columns: Sequence[str], lines: Iterable[Mapping[str, str]]) -> bytes:
    """Lines as Copernica sends them with `/header`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def contents(happened: Iterable[Happened], day: date = DAY) -> dict[str, bytes]:
    """The day's log files by their names."""
    by_prefix: dict[str, list[Happened]] = {}
    for one in happened:
        by_prefix.setdefault(one.prefix, []).append(one)
    return {
        f"{prefix}.{day}.log": csv_of(KINDS[prefix].columns, [one.line() for one in some])
        for prefix, some in by_prefix.items()
    }


def files(happened: Iterable[Happened], day: date = DAY) -> list[LogFile]:
    """The same as files to reconcile."""
    return [
        LogFile(name, KINDS[name.partition(".")[0]], day, partial(io.BytesIO, content), len(content))
        for name, content in contents(happened, day).items()
    ]


PREFIXES = (
    "cdm-impression",
    "cdm-click",
    "cdm-delivery",
    "cdm-error",
    "cdm-abuse",
    "cdm-unsubscribe",
    "pom-clicks",
)


def no_progress(_what: str, _done: int, _total: int | None) -> None:
    pass


def stored_keys(store: Store) -> Counter[tuple[object, ...]]:
    return Counter(map(key_of, store.find(Filter())))


def a_day(events: int = 300) -> list[Happened]:
    """Events of all kinds over the whole day."""
    return [
        Happened(
            PREFIXES[n % len(PREFIXES)],
            n * 86_399 // events,
            f"{n // 3:012x}",
            f"jan{n % 50}@example.nl",
            f"192.0.2.{n % 200}",
            f"https://example.nl/{n}",
        )
        for n in range(events)
    ]
