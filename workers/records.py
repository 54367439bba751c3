"""A call as an event, and an event as a call again.

A `Record` is a call in bytes, as it travels through the stream and waits in the tables handlers work from. The
store and the handlers see the `Event` that `read` makes of it. `record_of` goes the other way, for stored events
that are handed to a handler again: their calls are no longer kept.
"""

import logging
import re
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlencode

import orjson

from ingest.batch import FROM_LOGFILE, FROM_REST, Record
from ingest.copernica.bodies import parse
from ingest.copernica.columns import fits_column, is_column_text
from ingest.copernica.events import LOGFILE, REST, Event, decode
from ingest.errors import Undecodable

log = logging.getLogger(__name__)

#: The flags of the record of an event that no call brought.
FLAGS = {LOGFILE: FROM_LOGFILE, REST: FROM_REST}
#: Content types of the bodies that `record_of` writes.
FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"
#: Fields, and items of a list, up to which a form is plain; an event has some two dozen.
MOST_PLAIN, MOST_TAGS = 1000, 100
#: Texts of which the quoted form is remembered, and most characters of one: 4 MB at most.
REMEMBERED, LONGEST_REMEMBERED = 1024, 1024
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*", re.ASCII)
_ADDRESS = re.compile(r"[A-Za-z0-9_.~-]*@[A-Za-z0-9_.~-]*", re.ASCII)
#: How the reason begins for calls in quarantine that Copernica did not sign.
NOT_COPERNICAS = "not Copernica's"


class Why(StrEnum):
    """Why calls go to quarantine: a closed list, fit for counters; the reason says more."""

    #: Neither a form nor a JSON object.
    UNREADABLE = "unreadable"
    #: A fault of ours while it was read.
    FAULT = "fault"
    #: The database never takes its event.
    REFUSED = "refused-by-database"
    #: Drain after drain died of it.
    KILLED = "killed-its-drain"
    #: It was kept before it could be verified, and proved not to be genuine.
    NOT_COPERNICAS = "not-copernicas"


class Quarantined(NamedTuple):
    """A call that is not stored as an event, and why."""

    record: Record
    reason: str
    why: Why = Why.UNREADABLE


def read(record: Record) -> Event | Quarantined:
    """The event that a call brought, or the reason why there is none."""
    delivery_id, received_at, target, content_type, body, _, flags = record
    try:
        path = target.decode("utf-8", "replace")
        event = decode(body, content_type.decode("latin-1"), path, received_at, delivery_id)
        if flags & FROM_LOGFILE:
            return event._replace(source=LOGFILE)
        return event._replace(source=REST) if flags & FROM_REST else event
    except Undecodable as error:
        return Quarantined(record, str(error))
    except Exception as error:  # a fault of ours must not hold up the other events
        log.exception("an event could not be decoded")
        return Quarantined(record, f"fault while decoding: {type(error).__name__}", Why.FAULT)


def record_of(event: Event) -> Record:
    """A stored event as a call: with its own body if that was kept, else with one that says the same."""
    if event.raw is not None:
        body, content_type = event.raw, (event.raw_type or "").encode("latin-1", "replace")
    else:
        body, content_type = _body_of(event.fields)
    flags = FLAGS.get(event.source, 0)
    return Record(event.delivery_id, event.received_at, event.path.encode(), content_type, body, flags=flags)


def _body_of(fields: dict[str, Any]) -> tuple[bytes, bytes]:
    """A body and its content type: a form, as Copernica sends it, or JSON if a form cannot express the fields."""
    if plain := plain_form(fields):
        return plain, FORM
    return unusual_body(fields)


def unusual_body(fields: dict[str, Any]) -> tuple[bytes, bytes]:
    """The same of any fields: what was written is read back to see whether it says them."""
    pairs: list[tuple[str, str]] = []
    if all(_flatten(name, value, pairs) for name, value in fields.items()):
        body = urlencode(pairs).encode()
        with suppress(Undecodable):
            if parse(body, FORM.decode()) == (fields, True):
                return body, FORM
    return orjson.dumps(fields), JSON


def plain_form(fields: dict[str, Any]) -> bytes:
    """The same form where nothing about it is unusual, as with nearly all events; empty where something is.

    Each name stands for itself, and no value is but text or a list of texts: so it surely says what `fields` do,
    and need not be read back to see.
    """
    parts = []
    is_unreserved = _UNRESERVED.fullmatch
    for name, value in fields.items():
        if not _is_plain(name):
            return b""
        if type(value) is str and is_unreserved(value):
            parts.append(f"{name}={value}")
        elif type(value) is str and fits_column(value):
            parts.append(f"{name}={_quoted(value)}")
        elif type(value) is list and 0 < len(value) <= MOST_TAGS and all(map(is_column_text, value)):
            parts += [f"{name}%5B{index}%5D={_quoted(item)}" for index, item in enumerate(value)]
        else:
            return b""
    return "&".join(parts).encode() if len(parts) <= MOST_PLAIN else b""


@lru_cache(maxsize=REMEMBERED)  # those of an event are always the same
def _is_plain(name: str) -> bool:
    return len(name) <= LONGEST_REMEMBERED and bool(_PLAIN_NAME.fullmatch(name))


def _quoted(value: str) -> str:
    if _ADDRESS.fullmatch(value):  # of which nearly each is another: it would only push out what comes again
        return value.replace("@", "%40")
    return _quoted_again(value) if len(value) <= LONGEST_REMEMBERED else quote_plus(value)


@lru_cache(maxsize=REMEMBERED)  # the same few texts come in one event after the other
def _quoted_again(value: str) -> str:
    return quote_plus(value)


def _flatten(name: str, value: Any, pairs: list[tuple[str, str]]) -> bool:
    """Add a field in PHP's bracket notation; False if that cannot express it."""
    if isinstance(value, str):
        pairs.append((name, value))
        return True
    if isinstance(value, list):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict) or not value:
        return False
    return all(_flatten(f"{name}[{key}]", item, pairs) for key, item in value.items())
