"""Makes the figures of a mailing from its parts."""

import json
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, delete, select

from workers.mailings.part import CUTS, DEVICES, MOST_KEPT, TAGS, Cuts, Tops, having, unpacked
from workers.store.backend import PERIODS
from workers.store.mailing_tables import mailing_devices, mailing_figures, mailing_parts, mailing_tags

#: Entries of each list that figures keep.
MOST_SHOWN = 50
#: Entries of each of the `CUTS` of a mailing that are kept with their messages.
MOST_CUT = MOST_KEPT
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
    #: By the name of one of the `CUTS`, by entry and type: events, and of how many messages (None: not known yet).
    cuts: dict[str, dict[tuple[str, str], tuple[int, int | None]]] = field(default_factory=dict)
    first_hour: str = ""
    last_hour: str = ""


def unit_of(mailing: int, hour: str) -> int:
    """What a part is merged into: its mailing, or minus its day (such as -20261120) if it is of none.

    All that names no mailing would never come to an end: each hour would have it all counted again.
    """
    return mailing if mailing > 0 else -int(hour[: PERIODS["day"]].replace("-", ""))


def _parts_of(unit: int) -> list[ColumnElement[bool]]:
    """Which parts are merged into a unit; of what only stands for all of them (`NO_MAILING`), none."""
    if unit > 0:
        return [_PARTS.mailing == unit, _PARTS.number > 0]
    digits = f"{-unit:08}"
    day = f"{digits[:-4]}-{digits[-4:-2]}-{digits[-2:]}"
    of_day = _PARTS.hour >= day, _PARTS.hour < f"{day}~"
    return [_PARTS.owner <= 0, _PARTS.mailing == _PARTS.owner, *of_day, _PARTS.number > 0]


def merge(connection: Connection, unit: int) -> Merged:
    """Read the parts of a mailing, or of a day's events of none: first what is in them, then of which messages."""
    merged = Merged()
    parts = _parts_of(unit)
    hours: list[str] = []
    numbers: Counter[str] = Counter()
    entries: dict[tuple[str, str], Tops] = {}
    for row in connection.execute(select(_PARTS.type, _PARTS.hour, _PARTS.number, _PARTS.tops).where(*parts)):
        hours.append(row.hour)
        numbers[row.type] += row.number
        for name, found in json.loads(row.tops).items():
            for entry, number in found.items():
                merged.tops.setdefault(name, Tops()).add(entry, number)
                if name in CUTS:
                    entries.setdefault((name, row.type), Tops()).add(entry, number)
    merged.first_hour, merged.last_hour = min(hours, default=""), max(hours, default="")
    for kind in sorted(numbers):
        rows = connection.execute(select(_PARTS.messages, _PARTS.cuts).where(*parts, _PARTS.type == kind)).all()
        read = [
            (unpacked(bytes(row.messages)), None if row.cuts is None else json.loads(row.cuts)) for row in rows
        ]
        messages = different([hashes for hashes, _ in read])
        merged.kinds[kind] = numbers[kind], messages
        for name in CUTS:
            counts = entries[name, kind].counts if (name, kind) in entries else {}
            kept = merged.tops[name].most(MOST_CUT) if name in merged.tops else {}
            for entry in kept.keys() & counts.keys():
                of_entry = counts[entry], _messages_with(read, name, entry, messages)
                merged.cuts.setdefault(name, {})[entry, kind] = of_entry
    return merged


def _messages_with(
    parts: Sequence[tuple["array[int]", Cuts | None]], name: str, entry: str, messages: int
) -> int | None:
    """Of how many messages the events with an entry are; `messages` if all have it. None: not known yet."""
    found = []
    for hashes, cuts in parts:
        if cuts is None:
            return None
        found.append(having(hashes, cuts[name], entry))
    if all(some is hashes for some, (hashes, _) in zip(found, parts, strict=True)):
        return messages
    return different(found)


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
    for table, column, name in ((mailing_tags, "tag", TAGS), (mailing_devices, "device", DEVICES)):
        connection.execute(delete(table).where(table.c.mailing == mailing))
        rows = [
            {column: entry, "mailing": mailing, "type": kind, "number": number, "messages": messages}
            for (entry, kind), (number, messages) in sorted(merged.cuts.get(name, {}).items())
        ]
        if rows:
            connection.execute(table.insert(), rows)
