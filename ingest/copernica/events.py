"""The vocabulary: what kinds of events there are, and how a call becomes one.

Translation is one table per kind of value plus one function, `decode`. What has no column of its own stays in
`payload`, and kinds that we do not know yet pass through as `unknown` with everything they brought.
Sources: Copernica's articles on webhooks, one per event; where they disagree, all readings are accepted.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from ingest.copernica.forms import parse


class EventType(StrEnum):
    """What happened."""

    #: The recipient's mail program fetched the tracking image. One message gives many of these.
    OPEN = "open"
    #: The recipient followed a link; `url` is where it led.
    CLICK = "click"
    #: A bounce message came back; `mime` in the payload is the whole of it, which can be megabytes.
    BOUNCE = "bounce"
    #: The message could not be delivered, at once or (state=bounce) later.
    FAILURE = "failure"
    #: The receiving server accepted the message.
    DELIVERY = "delivery"
    #: Anything else, kept with its whole payload.
    UNKNOWN = "unknown"


class Event(NamedTuple):
    """One event, as it is stored. A tuple, because millions are made.

    `delivery_id` names the call that brought it and is the same however often that call is seen. `message_id` is
    Copernica's `id`: it names the message, not the event. Times are µs since 1970, UTC. `payload` holds every
    field that the other attributes do not give back, under its name as sent; a repeated name has a list.
    """

    delivery_id: bytes
    type: EventType
    message_id: str | None
    occurred_at: int
    received_at: int
    recipient: str | None
    ip: str | None
    url: str | None
    user_agent: str | None
    referer: str | None
    tags: list[str]
    payload: dict[str, Any]
    path: str
    source: str = "webhook"


#: Values of `type` (and, in failures, of `action`) as documented.
TYPES: Mapping[str, EventType] = {
    "open": EventType.OPEN,
    "click": EventType.CLICK,
    "bounce": EventType.BOUNCE,
    "failure": EventType.FAILURE,
    "failed": EventType.FAILURE,
    "delivery": EventType.DELIVERY,
}
#: Values of `action` that make an event without `type` a failure: both were documented.
FAILED_ACTIONS = frozenset({"failure", "failed"})
#: How tags are written: PHP's lists with and without places, or one plain field.
TAG_NAMES = frozenset(["tags", "tags[]", *(f"tags[{place}]" for place in range(100))])
#: The years in which a time is believed; anything else is a typing error or a test call.
FIRST_SECOND = 0
LAST_SECOND = 4_102_444_800  # 2100-01-01
#: Digits of a time that is worth reading.
MAX_TIME_DIGITS = 10


def decode(body: bytes, content_type: str, path: str, received_at: int, delivery_id: bytes = b"\0" * 12) -> Event:
    """Read one call.

    `path` is the path of the call, with or without a query; its last segment names the event type where the body
    does not. `received_at` is µs since 1970, and when the event happened if the body does not tell.

    Raises:
        Undecodable: the body is neither a form nor a JSON object.
    """
    fields = parse(body, content_type)
    kind = _take_type(fields, path)
    return Event(
        delivery_id,
        kind,
        _take(fields, "id"),
        _take_time(fields, received_at),
        received_at,
        _take(fields, "recipient"),
        _take(fields, "ip"),
        _take(fields, "original"),
        _take(fields, "useragent"),
        _take(fields, "referer"),
        _take_tags(fields),
        fields,
        path,
    )


def _take(fields: dict[str, Any], name: str) -> str | None:
    """Move a field out of the payload, if its column can give it back exactly."""
    value = fields.get(name)
    if type(value) is str and _fits_column(value):
        del fields[name]
        return value
    return _column_text(value)


def _fits_column(value: str) -> bool:
    # Text columns hold neither NUL (PostgreSQL) nor lone surrogates (no database). `isascii` is the fast way out.
    return "\0" not in value and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))


def _column_text(value: Any) -> str | None:
    """The nearest that a text column can hold to a value whose exact form stays in the payload."""
    if isinstance(value, list) and value:
        value = value[-1]  # of a repeated field PHP, Copernica's own language, takes the last
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).replace("\0", "\ufffd")
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _take_type(fields: dict[str, Any], path: str) -> EventType:
    name = fields.get("type")
    if isinstance(name, str) and name:
        if kind := TYPES.get(name):
            if kind == name:  # else the payload must tell how it was spelt
                del fields["type"]
            return kind
        return TYPES.get(name.strip().lower(), EventType.UNKNOWN)
    action = fields.get("action")
    if isinstance(action, str) and action in FAILED_ACTIONS:
        return EventType.FAILURE
    segment = path.partition("?")[0].rstrip("/").rpartition("/")[2]
    return TYPES.get(segment.lower(), EventType.UNKNOWN)


def _take_time(fields: dict[str, Any], received_at: int) -> int:
    """When it happened, in µs. `time` is in Unix seconds; `timestamp` has no zone, so it only stands in for it."""
    time = fields.get("time")
    if isinstance(time, str) and time.isascii() and time.isdigit() and len(time) <= MAX_TIME_DIGITS:
        second = int(time)
        if FIRST_SECOND < second < LAST_SECOND:
            if time[0] != "0":  # else the column would not give it back exactly
                del fields["time"]
            return second * 1_000_000
    elif isinstance(time, int) and not isinstance(time, bool) and FIRST_SECOND < time < LAST_SECOND:
        return time * 1_000_000
    timestamp = fields.get("timestamp")
    if isinstance(timestamp, str):
        try:
            moment = datetime.strptime(timestamp, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            return received_at
        second = int(moment.timestamp())
        if FIRST_SECOND < second < LAST_SECOND:
            return second * 1_000_000
    return received_at


def _take_tags(fields: dict[str, Any]) -> list[str]:
    """Tags in their order: `tags[]=a&tags[]=b`, `tags[0]=a&tags[1]=b`, a JSON list, or one plain `tags=a`."""
    tags: list[str] = []
    for name in [name for name in fields if name in TAG_NAMES]:
        value = fields[name]
        if type(value) is str and value and _fits_column(value):
            tags.append(value)
            del fields[name]
        elif type(value) is list and all(type(tag) is str and _fits_column(tag) for tag in value):
            tags += value
            del fields[name]
    return tags
