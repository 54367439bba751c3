"""What the views tell, and what they have to: counted from the events themselves."""

import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from ingest.copernica.message_ids import bare
from ingest.copernica.user_agents import device_of
from tests.support.builders import SECOND
from workers.mailings import grouping
from workers.mailings.figures import figures_of
from workers.mailings.listing import mailings
from workers.store import tables
from workers.store.filters import Filter
from workers.store.store import Store
from workers.store.views import NAMES, RATES, device_stats, mailing_stats, tag_stats, view_metadata

#: By some key: by type, the number of events and of messages.
Counted = dict[Any, dict[str, tuple[int, int]]]


def _known(store: Store) -> dict[str, int]:
    columns = tables.destinations.c
    with store.reading() as connection:
        return {
            row.message_id: row.mailing for row in connection.execute(select(columns.message_id, columns.mailing))
        }


def counted(store: Store) -> tuple[Counted, Counted]:
    """What tags and devices there are: from the events, by tag, and by mailing and device."""
    known = _known(store)
    events: dict[str, defaultdict[Any, defaultdict[str, int]]] = {}
    messages: dict[str, defaultdict[Any, defaultdict[str, set[Any]]]] = {}
    for name in ("tag", "device"):
        events[name] = defaultdict(lambda: defaultdict(int))
        messages[name] = defaultdict(lambda: defaultdict(set))
    for event in store.find(Filter()):
        kind = event.type.value
        if event.type not in NAMES:
            continue
        mailing = event.mailing or known.get(event.message_id or "")
        day = datetime.fromtimestamp(event.occurred_at // SECOND, UTC).date()
        keys = [("tag", tag) for tag in grouping.tags(json.dumps(event.tags))]
        if kind in ("open", "click"):
            keys.append(("device", (mailing, device_of(event.user_agent or ""))))  # type: ignore[arg-type]
        for name, key in keys:
            events[name][key][kind] += 1
            messages[name][key][kind]
            if event.message_id is not None:
                messages[name][key][kind].add((mailing or day, bare(event.message_id)))
    tags, devices = (
        {
            key: {kind: (number, len(messages[name][key][kind])) for kind, number in kinds.items()}
            for key, kinds in events[name].items()
        }
        for name in ("tag", "device")
    )
    return tags, devices


def _rows(store: Store, name: str) -> list[dict[str, Any]]:
    view = view_metadata.tables[name]
    with store.reading() as connection:
        return [dict(row._mapping) for row in connection.execute(select(view))]


def _kinds(row: dict[str, Any]) -> dict[str, tuple[int, int]]:
    found = {kind.value: (row[name], row[f"unique_{name}"]) for kind, name in NAMES.items() if name in row}
    return {kind: numbers for kind, numbers in found.items() if numbers != (0, 0)}


def told(store: Store) -> tuple[Counted, Counted]:
    """The same by the views."""
    tags = {row["tag"]: _kinds(row) for row in _rows(store, tag_stats.name)}
    devices = {(row["mailing"], row["device"]): _kinds(row) for row in _rows(store, device_stats.name)}
    return tags, devices


def agree(store: Store, mailing: int) -> None:
    """Assert that `mailing_stats` tells of a mailing what `ingest mailings` does."""
    rows = [row for row in _rows(store, mailing_stats.name) if row["mailing"] == mailing]
    figures = figures_of(store, mailing)
    if figures is None or not figures.hours:
        assert rows == []
        return
    (row,) = rows
    shown = figures.as_dict()
    for kind, name in NAMES.items():
        numbers = shown["events"].get(kind.value, {"total": 0, "unique": 0})
        assert (row[name], row[f"unique_{name}"]) == (numbers["total"], numbers["unique"]), (kind, row, shown)
        if kind in RATES and "rate" in numbers:
            assert row[RATES[kind]] == numbers["rate"], (kind, row, shown)
    assert row["base"] == (shown["base"] or {}).get("number")
    (listed,) = [one for one in mailings(store).mailings if one.mailing == mailing]
    assert (str(row["first_hour"])[:13], str(row["last_hour"])[:13]) == (listed.first_hour, listed.last_hour)
