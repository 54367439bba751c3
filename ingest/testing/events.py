"""An event of each type, with the fields that Copernica sends.

The defaults are the simulator's own bodies (`ingest.simulation.calls.payload`); of types that occur in log files
only, a line of such a file, read as such.
"""

import io
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol

from ingest.copernica.bodies import parse
from ingest.copernica.events import (
    EPOCH,
    LOGFILE,
    LOGGED_ONLY,
    MICROS,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    WEBHOOK,
    Event,
    EventType,
    event_of,
)
from ingest.copernica.logfiles.kinds import KINDS
from ingest.copernica.logfiles.reader import Entry, read
from ingest.shown import did_you_mean
from ingest.simulation.calls import FORM, SEEDED_START, TYPES, payload
from ingest.simulation.logwriter import ALWAYS

#: The path that events come by, unless a test says otherwise.
PATH = "/copernica"
#: Seconds between an event and the call that reports it.
DELAY = 1
#: Names of fields as attributes of an event have them, where Copernica has another.
_SENT_AS: Mapping[str, str] = {column: name for name, column in TEXT_COLUMNS.items()}
#: What the lines of log files say whose events no webhook brings.
_LINES: Mapping[str, str] = {
    **ALWAYS,
    "id": "5fd2c1aa90bb",
    "time": "2026-11-20 09:12:44",
    "email": "jan.de.vries+nieuws@example.nl",
    "recipient": "jan.de.vries+nieuws@example.nl",
    "envelope": "bounce-5fd2c1aa90bb@mail.example.nl",
    "ip": "198.51.100.7",
    "url": "https://shop.example.nl/actie/winterjas",
    "linkinfo": "https://shop.example.nl/actie/winterjas",
    "header": "User-Agent: Mozilla/5.0 (compatible; LinkChecker/2.1)",
    "tags": "nieuwsbrief;november 2026",
    "mailingid": "90210",
    "profileid": "4711",
    "profile": "4711",
    "databaseid": "7",
    "mime": "From: jan.de.vries@example.nl\r\nSubject: Re: Ons aanbod\r\n\r\nDank u.\r\n",
    "organizationName": "isp.example.net",
    "reportId": "1795165964",
    "begin": "1795046400",
    "end": "1795132799",
    "domain": "example.nl",
    "sendingDomain": "example.nl",
    "messages": "12",
    "failedSpf": "1",
    "failedDkim": "0",
}
#: What the dashboard's button "test webhook" sends, say.
_UNKNOWN = b"type=test&message=This+is+a+test"

_numbers = itertools.count(1)


def event(
    kind: str,
    /,
    *,
    at: datetime | float | None = None,
    delivery_id: bytes | None = None,
    path: str = PATH,
    extra: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Event:
    """An event of any type, as your handlers get it.

    Args:
        kind: its type: `open`, `profile-update`, …
        at: when it happened: a time with its zone, or Unix seconds. By default a morning in November 2026.
        delivery_id: 12 bytes that tell it from others; by default, each event has others.
        path: the path that the call was posted to.
        extra: fields under names that Copernica is not known to send.
        fields: what it says, under Copernica's names (`original`) or those of `Event` (`url`): a text, a number, a
            list of texts (`tags`), a map (`fields`, `interests`). None leaves a field out; what is not named is as
            the simulator sends it.

    Raises:
        TypeError: there is no such type of event, or no such field.
    """
    kind = _known_kind(kind)
    sent = dict(_defaults(kind))
    for name, value in fields.items():
        name = _SENT_AS.get(name, name)  # noqa: PLW2901
        if name not in _field_names():
            raise TypeError(
                f"Events have no field {name!r}.{did_you_mean(name, _field_names())} Else use extra={{}}."
            )
        sent[name] = value
    sent |= extra or {}
    second = _second(at)
    if second is not None:
        if "time" in sent:  # complaints have none: they happened when their call came in
            sent["time"] = str(second)
        if "timestamp" in sent:
            sent["timestamp"] = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")
    said = {name: _as_sent(value) for name, value in sent.items() if value is not None}
    happened = int(said["time"]) if str(said.get("time", "")).isdecimal() else second or SEEDED_START
    received = happened + DELAY
    if delivery_id is None:
        delivery_id = received.to_bytes(4, "big") + next(_numbers).to_bytes(8, "big")
    source = LOGFILE if kind in LOGGED_ONLY else WEBHOOK
    return event_of(said, path, received * MICROS, delivery_id, source)


def _known_kind(kind: str) -> EventType:
    try:
        return EventType(kind)
    except ValueError:
        raise TypeError(f"{kind!r} is not a type of event.{did_you_mean(kind, EventType)}".rstrip(".")) from None


def _second(at: datetime | float | None) -> int | None:
    """A moment in Unix seconds."""
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise TypeError("at= needs a time zone: datetime(…, tzinfo=UTC)")
        return (at - EPOCH) // _ONE_SECOND
    return None if at is None else int(at)


_ONE_SECOND = datetime.fromtimestamp(1, UTC) - datetime.fromtimestamp(0, UTC)


def _as_sent(value: Any) -> Any:
    """A value as a form has it: texts, and lists and maps of them."""
    if isinstance(value, Mapping):
        return {str(name): _as_sent(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_sent(item) for item in value]
    if isinstance(value, bool):
        return str(int(value))
    return str(value)


@cache
def _defaults(kind: EventType) -> Mapping[str, Any]:
    """The fields of an event about which a test says nothing."""
    if kind in LOGGED_ONLY:
        return _logged(kind)
    body = payload(kind) if kind in TYPES else _UNKNOWN
    return parse(body, FORM)[0]


def _logged(kind: EventType) -> Mapping[str, Any]:
    """What a line of a log file says."""
    log_kind = next(one for one in KINDS.values() if one.type is kind)
    line = [_LINES.get(name, "") for name in log_kind.columns]
    quoted = ['"' + value.replace('"', '""') + '"' for value in line]
    text = ",".join(log_kind.columns) + "\n" + ",".join(quoted) + "\n"
    (entry,) = read(io.BytesIO(text.encode()), log_kind)
    assert isinstance(entry, Entry)
    return entry.event.fields


@cache
def _field_names() -> frozenset[str]:
    """The names of all fields that Copernica is known to send."""
    sent = {name for kind in EventType for name in _defaults(kind)}
    return frozenset(
        {*sent, *TEXT_COLUMNS, *NUMBER_COLUMNS, "time", "type", "tags", "product", "sent", "attempts"}
    )


class Factory(Protocol):
    """Makes an event of one type; the arguments are those of `event`."""

    def __call__(
        self,
        *,
        at: datetime | float | None = None,
        delivery_id: bytes | None = None,
        path: str = PATH,
        extra: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Event:
        """An event of this type."""


def _factory(kind: EventType) -> Factory:
    def make(
        *,
        at: datetime | float | None = None,
        delivery_id: bytes | None = None,
        path: str = PATH,
        extra: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Event:
        return event(kind, at=at, delivery_id=delivery_id, path=path, extra=extra, **fields)

    make.__name__ = make.__qualname__ = kind.name.lower()
    make.__doc__ = f"An event of the type `{kind.value}`; the arguments are those of `event`."
    return make


open = _factory(EventType.OPEN)  # the name that Copernica has for it
click = _factory(EventType.CLICK)
bounce = _factory(EventType.BOUNCE)
failure = _factory(EventType.FAILURE)
delivery = _factory(EventType.DELIVERY)
abuse = _factory(EventType.ABUSE)
unsubscribe = _factory(EventType.UNSUBSCRIBE)
profile_create = _factory(EventType.PROFILE_CREATE)
profile_update = _factory(EventType.PROFILE_UPDATE)
profile_delete = _factory(EventType.PROFILE_DELETE)
subprofile_create = _factory(EventType.SUBPROFILE_CREATE)
subprofile_update = _factory(EventType.SUBPROFILE_UPDATE)
subprofile_delete = _factory(EventType.SUBPROFILE_DELETE)
attempt = _factory(EventType.ATTEMPT)
bot_click = _factory(EventType.BOT_CLICK)
retry = _factory(EventType.RETRY)
dmarc = _factory(EventType.DMARC)
response = _factory(EventType.RESPONSE)
unknown = _factory(EventType.UNKNOWN)
