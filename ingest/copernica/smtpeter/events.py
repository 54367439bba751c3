"""What SMTPeter's events calls answer: `[{"event": "open", "data": {…}}, …]`.

The fields of `data` are the columns of that kind's log file, so an entry is a line of one in another form.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from ingest.copernica.event_types import EventType
from ingest.copernica.logfiles import json_rows
from ingest.copernica.logfiles.kinds import KINDS, LogKind
from ingest.copernica.logfiles.rows import Damage, Row, Unreadable
from ingest.copernica.logfiles.text import begun, decoded, encoding_of

#: The kinds of log files of SMTPeter, which are not named after a product as the others are.
PREFIXES = ("opens", "clicks", "deliveries", "failures", "bounces", "abuses", "attempts", "dmarc", "responses")
#: The kind for the name of an event: `open`, or `opens` as files are called.
KIND_OF: Mapping[str, LogKind] = {
    name: KINDS[prefix] for prefix in PREFIXES for name in (prefix, str(KINDS[prefix].type))
}
#: Characters of an unknown name that are shown.
MAX_NAME = 30


class Told(NamedTuple):
    """One event: what kind of log file it would be in, and its columns there. Nothing else is known of them."""

    number: int
    kind: LogKind
    data: dict[str, Any]

    @property
    def type(self) -> EventType:
        """What happened."""
        assert self.kind.type is not None
        return self.kind.type


def read(stream: BinaryIO) -> Iterator[Told | Damage]:
    """The events of an answer, in constant memory, and what of it cannot be read. They are numbered from 1."""
    try:
        encoding = encoding_of(stream)
        _, blocks = begun(stream)
        for row in json_rows.rows(decoded(blocks, encoding)):
            yield row if isinstance(row, Damage) else _told(row)
    except Unreadable as error:
        yield Damage(1, str(error), whole=True)


def _told(row: Row) -> Told | Damage:
    number, names, values = row
    entry = dict(zip(names, values, strict=True))
    name = entry.get("event", "").strip().lower()
    kind = KIND_OF.get(name)
    if kind is None:
        return Damage(number, f"{name[:MAX_NAME]!r} is no kind of event that we know" if name else "of no kind")
    try:
        data = json.loads(entry.get("data", ""))
    except (ValueError, RecursionError):
        data = None
    return Told(number, kind, data) if isinstance(data, dict) and data else Damage(number, "nothing is said of it")
