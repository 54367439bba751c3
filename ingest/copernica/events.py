"""The vocabulary: what kinds of events there are, and how a call becomes one.

Translation is one table per kind of value and one function, `decode`; `Event.fields` is the way back. What has no
column of its own stays in `payload`, and kinds that we do not know pass through as `unknown` with everything they
brought. The facts come from Copernica's articles on webhooks, one per event; where they disagree, all readings are
accepted.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ingest.copernica.bodies import parse
from ingest.copernica.columns import MAX_NUMBER_DIGITS, column_text, fits_column, is_column_text, whole
from ingest.copernica.event_types import EventType as EventType  # noqa: PLC0414  # part of this vocabulary

#: The value of `type` for each, as documented.
WIRE_NAMES: Mapping[EventType, str] = {
    kind: kind.removeprefix("subprofile-").removeprefix("profile-")
    for kind in EventType
    if kind is not EventType.UNKNOWN
}
#: Values of `type` that stand for a profile or a subprofile, depending on the other fields.
ABOUT_PROFILES = {
    "create": (EventType.PROFILE_CREATE, EventType.SUBPROFILE_CREATE),
    "update": (EventType.PROFILE_UPDATE, EventType.SUBPROFILE_UPDATE),
    "delete": (EventType.PROFILE_DELETE, EventType.SUBPROFILE_DELETE),
}
#: The type for each value of `type`, of `action` in failures, and of the last part of a call's path.
TYPES: Mapping[str, EventType] = {
    **{kind.value: kind for kind in EventType},
    **{name: kinds[0] for name, kinds in ABOUT_PROFILES.items()},
    "failed": EventType.FAILURE,
}
#: Types that occur in log files only.
LOGGED_ONLY = frozenset(
    {EventType.ATTEMPT, EventType.BOT_CLICK, EventType.RETRY, EventType.DMARC, EventType.RESPONSE}
)
#: Types that are suspected not to be a person's doing, and what they would be: a webhook may bring them as that.
SUSPECTED: Mapping[EventType, EventType] = {EventType.BOT_CLICK: EventType.CLICK}
#: The counterparts of profile events, for calls that name a subprofile.
SUBPROFILE_TWINS: Mapping[EventType, EventType] = dict(ABOUT_PROFILES.values())
#: Events about a profile: their stray `id` is the profile's, not a message's.
PROFILE_EVENTS = frozenset(kind for kinds in ABOUT_PROFILES.values() for kind in kinds)
#: Values of `action` that say what an event without `type` is: failures have been documented in two ways, and the
#: Publisher's callbacks say no more than what was done to a profile or a subprofile.
ACTIONS: Mapping[str, EventType] = {name: TYPES[name] for name in ("failure", "failed", *ABOUT_PROFILES)}
#: How a part of a path begins that says that callbacks to it are about subprofiles: their bodies do not tell.
SUBPROFILE_PATH = "subprofile"

#: Fields that have a text column, and the name of the column.
TEXT_COLUMNS: Mapping[str, str] = {
    "id": "message_id",
    "recipient": "recipient",
    "ip": "ip",
    "original": "url",
    "useragent": "user_agent",
    "referer": "referer",
    "extended": "extended",
    "state": "state",
    "description": "description",
}
#: Fields that have a column of whole numbers, under their own name.
NUMBER_COLUMNS = ("profile", "subprofile", "database", "collection", "mailing", "code")
#: All fields that an attribute other than `payload` can give back.
WITH_COLUMN = frozenset({*TEXT_COLUMNS, *NUMBER_COLUMNS, "type", "time", "tags"})

#: The Unix seconds between which a time is credible; anything else is a mistake or a test call.
FIRST_SECOND = 0
LAST_SECOND = 4_102_444_800  # 2100-01-01
#: Most digits of a credible time.
MAX_TIME_DIGITS = 10
#: Microseconds in a second.
MICROS = 1_000_000
#: Seconds in a day.
DAY = 86_400
#: Where an event comes from: a call, a line of a log file, or a result over REST.
WEBHOOK, LOGFILE, REST = "webhook", "logfile", "rest"
#: Where times in µs are counted from.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Event(NamedTuple):
    """One event, as it is stored. A tuple, because millions are created.

    `delivery_id` identifies the call that brought it, and is the same however often that call is seen.
    `message_id` is Copernica's `id`: it names the message, not the event. Times are µs since 1970, UTC. `payload`
    has every field that the other attributes do not give back, lists and maps as such; None stands for one that
    was not sent although its attribute has a value: a `time`, a `type`, a profile that only `id` names. `raw` and
    `raw_type` are the body as it arrived and its content type, where fields cannot say everything: a name sent
    twice, bytes that are not text.
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
    profile: int | None
    subprofile: int | None
    database: int | None
    collection: int | None
    mailing: int | None
    code: int | None
    extended: str | None
    state: str | None
    description: str | None
    tags: list[str]
    payload: dict[str, Any]
    path: str
    source: str = WEBHOOK
    raw: bytes | None = None
    raw_type: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Every field as Copernica sent it, under Copernica's own names: the inverse of `decode`."""
        sent: dict[str, Any] = {name: getattr(self, column) for name, column in TEXT_COLUMNS.items()}
        for name in NUMBER_COLUMNS:
            number = getattr(self, name)
            sent[name] = None if number is None else str(number)
        sent["type"] = WIRE_NAMES.get(self.type)
        sent["time"] = str(self.occurred_at // MICROS)
        sent["tags"] = self.tags or None
        sent |= self.payload
        return {name: value for name, value in sent.items() if value is not None or name not in WITH_COLUMN}


def decode(body: bytes, content_type: str, path: str, received_at: int, delivery_id: bytes = b"\0" * 12) -> Event:
    """Read one call.

    `path` is the path of the call, with or without a query; its last segment names the event type where the body
    does not. `received_at` is µs since 1970, and counts as the time of the event if the body has none.

    Raises:
        Undecodable: the body is neither a form nor a JSON object.
    """
    fields, exact = parse(body, content_type)
    exact = exact and None not in fields.values()  # in columns, None means that a field was not sent
    kept = (None, None) if exact else (body, content_type)
    return event_of(fields, path, received_at, delivery_id, WEBHOOK, *kept)


def event_of(
    fields: dict[str, Any],
    path: str,
    received_at: int,
    delivery_id: bytes = b"\0" * 12,
    source: str = WEBHOOK,
    raw: bytes | None = None,
    raw_type: str | None = None,
) -> Event:
    """The event that fields describe, under the names they have in a webhook.

    What no column can give back stays in `fields`, which becomes the payload.
    """
    kind = _take_type(fields, path)
    event = Event(
        delivery_id,
        kind,
        None if kind in PROFILE_EVENTS else _take(fields, "id"),
        _take_time(fields, received_at),
        received_at,
        _take(fields, "recipient"),
        _take(fields, "ip"),
        _take(fields, "original"),
        _take(fields, "useragent"),
        _take(fields, "referer"),
        _take_number(fields, "profile"),
        _take_number(fields, "subprofile"),
        _take_number(fields, "database"),
        _take_number(fields, "collection"),
        _take_number(fields, "mailing"),
        _take_number(fields, "code"),
        _take(fields, "extended"),
        _take(fields, "state"),
        _take(fields, "description"),
        _take_tags(fields),
        fields,
        path,
        source,
        raw,
        raw_type,
    )
    return _named_by_id(event) if kind in PROFILE_EVENTS else event


def _named_by_id(event: Event) -> Event:
    """The same event, its profile or subprofile being the one that `id` names if no field of its own does.

    In a callback, which says no `type`, `id` is what the event is about; in a webhook it repeats the profile's id.
    """
    fields = event.payload
    about_profile = event.type in SUBPROFILE_TWINS or bool(fields.get("type", True))
    number = whole(fields.get("id"), MAX_NUMBER_DIGITS)
    if number is None:
        return event
    if about_profile and event.profile is None and "profile" not in fields:
        fields["profile"] = None  # it was not sent
        return event._replace(profile=number)
    if not about_profile and event.subprofile is None and "subprofile" not in fields:
        fields["subprofile"] = None
        return event._replace(subprofile=number)
    return event


def _take(fields: dict[str, Any], name: str) -> str | None:
    """Move a field out of the payload, if its column can give it back exactly."""
    value = fields.get(name)
    if value is None:
        return None
    if type(value) is str and fits_column(value):
        del fields[name]
        return value
    return column_text(value)


def _take_number(fields: dict[str, Any], name: str) -> int | None:
    """The same for a column of whole numbers."""
    value = fields.get(name)
    if value is None:
        return None
    number = whole(value, MAX_NUMBER_DIGITS)
    if number is not None and str(number) == value:
        del fields[name]
    return number


def _take_type(fields: dict[str, Any], path: str) -> EventType:
    name = fields.get("type")
    kind = EventType.UNKNOWN
    if isinstance(name, str) and name:
        kind = TYPES.get(name) or TYPES.get(name.strip().lower(), EventType.UNKNOWN)
        if kind is EventType.OPEN and _is_delivery(fields):
            kind = EventType.DELIVERY
    else:
        segments = path.partition("?")[0].lower().rstrip("/").split("/")
        action = fields.get("action")
        said = ACTIONS.get(action.strip().lower()) if isinstance(action, str) else None
        kind = said or TYPES.get(segments[-1], EventType.UNKNOWN)
        if kind in SUBPROFILE_TWINS and any(segment.startswith(SUBPROFILE_PATH) for segment in segments):
            kind = SUBPROFILE_TWINS[kind]
    if kind in SUBPROFILE_TWINS and ("subprofile" in fields or "collection" in fields):
        kind = SUBPROFILE_TWINS[kind]
    if kind is not EventType.UNKNOWN:
        if name == WIRE_NAMES[kind]:  # otherwise the payload keeps how it was spelt
            del fields["type"]
        else:
            fields.setdefault("type", None)
    return kind


def _is_delivery(fields: dict[str, Any]) -> bool:
    """An article shows deliveries that call themselves opens, with a mail server's answer and without a reader."""
    return "code" in fields and "ip" not in fields and "useragent" not in fields


def credible_second(time: Any) -> int | None:
    """The Unix second that a `time` is, if it is one."""
    second = whole(time, MAX_TIME_DIGITS)
    return second if second is not None and FIRST_SECOND < second < LAST_SECOND else None


def _take_time(fields: dict[str, Any], received_at: int) -> int:
    """When it happened, in µs. `time` is in Unix seconds; `timestamp` has no zone, so it is only a substitute."""
    time = fields.get("time")
    second = credible_second(time)
    if second is not None:
        if str(second) == time:  # otherwise the column would not give it back exactly
            del fields["time"]
        return second * MICROS
    fields.setdefault("time", None)
    for text in (time, fields.get("timestamp")):
        moment = _moment(text)
        if moment is not None:
            return moment
    return received_at


def _moment(text: Any) -> int | None:
    """A written time, in UTC unless it names a zone, as µs."""
    try:
        moment = datetime.fromisoformat(text.strip())
        micros = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(microseconds=1)
    except (AttributeError, ValueError, OverflowError):  # not a text, not a time, or beyond all calendars
        return None
    return micros if FIRST_SECOND < micros // MICROS < LAST_SECOND else None


def _take_tags(fields: dict[str, Any]) -> list[str]:
    """Tags in their order: a list, or one plain `tags=a`, which stays in the payload as well."""
    tags = fields.get("tags")
    if not tags:
        return []
    if type(tags) is list and all(map(is_column_text, tags)):
        del fields["tags"]
        return tags
    if isinstance(tags, dict) and all(map(str.isdecimal, tags)):
        tags = list(tags.values())  # PHP leaves gaps where it has removed duplicates
    several = tags if isinstance(tags, list) else [tags]
    return [text for tag in several if (text := column_text(tag))]
