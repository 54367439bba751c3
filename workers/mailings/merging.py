"""Makes the figures of a mailing from its parts."""

import json
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, select

from workers.mailings.part import LISTS, TAGS, Tops, unpacked
from workers.store.mailing_tables import mailing_figures, mailing_parts, mailing_tags

#: Entries of each list that figures keep.
MOST_SHOWN = 50
#: Hashes that are held in memory at a time to find out how many different ones there are: some 30 MB.
AT_ONCE = 250_000
#: Hashes are from minus this up to this.
_HALF = 2**63

_PARTS = mailing_parts.c


@dataclass(slots=True)
class Merged:
    """What all parts of a mailing come to."""

    #: Events and messages by type.
    kinds: dict[str, tuple[int, int]] = field(default_factory=dict)
    tops: dict[str, Tops] = field(default_factory=dict)
    #: The most frequent tags with the number of events of each type.
    tags: dict[tuple[str, str], int] = field(default_factory=dict)
    first_hour: str = ""
    last_hour: str = ""


def merge(connection: Connection, mailing: int) -> Merged:
    """Read a mailing's parts, of one type after the other."""
    merged = Merged()
    types = select(_PARTS.type).where(_PARTS.mailing == mailing, _PARTS.number > 0).distinct()
    hours: list[str] = []
    tags: dict[str, Tops] = {}
    for kind in sorted(connection.execute(types).scalars()):
        of_kind = _PARTS.mailing == mailing, _PARTS.type == kind, _PARTS.number > 0
        rows = connection.execute(
            select(_PARTS.hour, _PARTS.number, _PARTS.messages, _PARTS.tops).where(*of_kind)
        ).all()
        hashes = [unpacked(bytes(row.messages)) for row in rows]
        merged.kinds[kind] = sum(row.number for row in rows), different(hashes)
        hours += [row.hour for row in rows]
        for row in rows:
            _add(merged.tops, kind, json.loads(row.tops), tags)
    merged.first_hour, merged.last_hour = min(hours, default=""), max(hours, default="")
    shown = merged.tops[TAGS].most(MOST_SHOWN) if TAGS in merged.tops else {}
    merged.tags = {
        (tag, kind): of_kind.counts[tag] for kind, of_kind in tags.items() for tag in shown if of_kind.counts[tag]
    }
    return merged


def _add(tops: dict[str, Tops], kind: str, lists: dict[str, Any], tags: dict[str, Tops]) -> None:
    for name in LISTS:
        for entry, number in lists.get(name, {}).items():
            tops.setdefault(name, Tops()).add(entry, number)
            if name == TAGS:
                tags.setdefault(kind, Tops()).add(entry, number)


def different(sorted_hashes: Sequence["array[int]"]) -> int:
    """How many different hashes there are in some sorted lists, each in a range of its own after the other."""
    total = sum(map(len, sorted_hashes))
    ranges = -(-total // AT_ONCE) or 1
    found, begins = 0, [0] * len(sorted_hashes)
    for at in range(1, ranges + 1):
        end = -_HALF + 2 * _HALF * at // ranges
        seen: set[int] = set()
        for which, hashes in enumerate(sorted_hashes):
            begin = begins[which]
            begins[which] = bisect_left(hashes, end, begin) if at < ranges else len(hashes)
            seen.update(hashes[begin : begins[which]])
        found += len(seen)
    return found


def save(connection: Connection, mailing: int, changes: int, merged: Merged, now: int) -> None:
    """Keep the figures of a mailing, within a transaction; one without events has none but its `changes`."""
    connection.execute(delete(mailing_figures).where(mailing_figures.c.mailing == mailing))
    connection.execute(delete(mailing_tags).where(mailing_tags.c.mailing == mailing))
    tops = {name: tops.most(MOST_SHOWN) for name, tops in sorted(merged.tops.items())}
    row = (
        mailing,
        changes,
        merged.first_hour,
        merged.last_hour,
        now,
        json.dumps(merged.kinds),
        json.dumps(tops, ensure_ascii=False),
    )
    connection.execute(mailing_figures.insert().values(row))
    if merged.tags:
        rows = [
            {"tag": tag, "mailing": mailing, "type": kind, "number": number}
            for (tag, kind), number in sorted(merged.tags.items())
        ]
        connection.execute(mailing_tags.insert(), rows)
