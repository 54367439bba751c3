"""From the columns of log files to the fields that a webhook would have brought; see `reader`."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ingest.copernica.events import WIRE_NAMES, EventType
from ingest.copernica.logfiles.kinds import LogKind, misnamed, spelled

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
#: The fields that `Said` is made of.
_SAID = ("time", "id", "recipient", "ip", "original", LINK_ID)
#: Fields that no column fills by its name: the type comes from the kind of file, the others from the header block.
_NOT_COLUMNS = frozenset({"type", "useragent", "referer", ""})
_EXTENDED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_FOLD = re.compile(r"\r?\n[ \t]+")
#: What can be the address of a link: it has a scheme, or at least a dot or a slash. A number has none.
LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|[^./]*[./]")


class Columns(NamedTuple):
    """What the columns of a file mean: the field that each fills, no two the same, or why they mean nothing.

    `said` are the places of the fields of `_SAID` in a row, None for one that it lacks; empty without a time.
    """

    targets: tuple[str, ...]
    fault: str
    said: tuple[int | None, ...]

    def filled(self, values: Sequence[str]) -> dict[str, Any]:
        """The fields that a row fills."""
        return {name: value for name, value in zip(self.targets, values, strict=True) if value}


@lru_cache(maxsize=256)  # a file has one set of columns; JSON and XML may have some more
def columns_of(kind: LogKind, names: tuple[str, ...]) -> Columns:
    """What the columns of a file of this kind mean that has these names."""
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
    places = {field: place for place, field in enumerate(targets)}
    said = tuple(map(places.get, _SAID)) if "time" in places else ()
    return Columns(tuple(targets), misnamed(names, kind), said)


def translate(fields: dict[str, Any], kind: EventType, second: int) -> None:
    """Put what some columns hold in the way of webhooks: links, tags, the header block, the extended status."""
    fields["type"] = WIRE_NAMES[kind]
    fields["time"] = str(second)
    link = fields.get(LINK_ID)
    if link and "original" not in fields and LINK.match(link):
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
