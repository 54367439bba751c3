"""The fields of an event as its page shows them: under Copernica's names, cut where they are huge, explained."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ingest.console import reasons
from ingest.console.links import message_path, recipient_path
from ingest.console.seals import Seals
from ingest.copernica.events import Event
from ingest.copernica.user_agents import Reader, reader_of

#: Characters of a value that are shown; the whole is in the event's JSON, which can be downloaded.
SHOWN = 2000
#: Rows of a field that has several values, such as tags or a profile's fields …
MOST_ROWS = 100
#: … and how deep its values are looked into.
MOST_DEPTH = 4
#: Characters of a tag that are shown.
LONGEST_TAG = 200
#: Names of fields in the order of the page.
FIRST = (
    "type", "id", "time", "timestamp", "recipient", "original", "ip", "useragent", "referer", "mailing", "profile",
    "subprofile", "database", "collection", "code", "extended", "state", "action", "description",
)  # fmt: skip  # a list to be read across
#: Characters of an address that a link may have.
LONGEST_LINK = 2000


@dataclass(frozen=True, slots=True)
class Field:
    """One field."""

    #: As Copernica calls it: `fields[email]` for one within another.
    name: str
    #: None where there is nothing to show: an empty list.
    value: str | None
    #: Characters that are not shown.
    cut: int = 0
    #: Where a link leads, outside or within the console.
    href: str = ""
    is_outside: bool = False
    #: Sentences that are marked for translation.
    meaning: tuple[str, ...] = ()
    reader: Reader | None = None
    #: Unix seconds, where it is a time.
    moment: float | None = None
    #: How many further values the field has that are not shown.
    more: int = 0


def fields_of(event: Event, seals: Seals) -> list[Field]:
    """All fields of an event but its tags: first what people look for first, and then the others as they came."""
    fields = event.fields
    first = [name for name in FIRST if name in fields]
    names = [*first, *(name for name in fields if name not in FIRST)]
    return [field for name in names if name != "tags" for field in _field(event, name, fields[name], seals)]


def tags_of(event: Event) -> tuple[list[str], int]:
    """The tags that are shown, each cut where it is long, and how many further ones there are."""
    shown = [tag[:LONGEST_TAG] for tag in event.tags[:MOST_ROWS]]
    return shown, len(event.tags) - len(shown)


def _field(event: Event, name: str, value: Any, seals: Seals) -> Iterator[Field]:
    if isinstance(value, dict | list):
        yield from _several(name, value)
        return
    text = _text(value)
    href, is_outside = _link(event, name, text, seals)
    yield Field(
        name,
        text[:SHOWN],
        max(0, len(text) - SHOWN),
        href,
        is_outside,
        tuple(_meaning(event, name)),
        reader_of(text) if name == "useragent" and text else None,
        event.occurred_at / 1e6 if name == "time" and text.strip().isdigit() else None,
    )


def _meaning(event: Event, name: str) -> list[str]:
    if name == "extended":
        return reasons.of_status(event.extended)
    if name == "code" and not reasons.of_status(event.extended):
        return reasons.of_code(event.code)
    return []


def _several(name: str, value: Any) -> Iterator[Field]:
    leaves = list(_leaves(name, value, 0))
    for path, leaf in leaves[:MOST_ROWS]:
        text = None if leaf is None else _text(leaf)
        yield Field(path[:SHOWN], text and text[:SHOWN], max(0, len(text or "") - SHOWN))
    if len(leaves) > MOST_ROWS:
        yield Field(name, None, more=len(leaves) - MOST_ROWS)


def _leaves(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth < MOST_DEPTH and isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(f"{name}[{key}]", item, depth + 1)
    elif depth < MOST_DEPTH and isinstance(value, list) and value:
        for item in value:
            yield from _leaves(f"{name}[]", item, depth + 1)
    else:
        yield name, None if value in ({}, []) else value


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: ""}[value]
    return str(value)


def _link(event: Event, name: str, text: str, seals: Seals) -> tuple[str, bool]:
    """Where a field's value leads, and whether that is outside."""
    if not text or len(text) > LONGEST_LINK:
        return "", False
    if name == "recipient" and event.recipient == text:
        return recipient_path(text, seals), False
    if name == "id" and event.message_id == text:
        return message_path(text), False
    if name == "mailing" and event.mailing is not None:
        return f"/mailing/{event.mailing}", False
    if name in ("original", "referer") and text.startswith(("http://", "https://")) and text.isprintable():
        return text, True
    return "", False


def quoted(text: str) -> str:
    """A text as a part of a path or a query."""
    return quote(text, safe="", errors="replace")
