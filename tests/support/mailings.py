"""Figures of mailings by counting events one by one, to hold those of the store against."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from ingest.copernica.message_ids import bare
from tests.support.builders import SECOND
from workers.mailings import grouping
from workers.mailings.figures import figures_of
from workers.mailings.part import KINDS
from workers.store import tables
from workers.store.filters import Filter
from workers.store.store import Store

_KINDS = {kind.value for kind in KINDS}


def counted(store: Store, mailing: int) -> dict[str, Any]:
    """What the store has of a mailing, from its events."""
    columns = tables.destinations.c
    with store.reading() as connection:
        known = {
            row.message_id: row.mailing for row in connection.execute(select(columns.message_id, columns.mailing))
        }
    numbers: Counter[str] = Counter()
    messages: dict[str, set[str]] = {}
    hours: Counter[tuple[str, str]] = Counter()
    lists: dict[str, Counter[str]] = {name: Counter() for name in ("reasons", "links", "tags")}
    for event in store.find(Filter()):
        of = event.mailing or known.get(event.message_id or "")
        if event.type.value not in _KINDS or of != mailing:
            continue
        kind = event.type.value
        numbers[kind] += 1
        messages.setdefault(kind, set())
        if event.message_id is not None:
            messages[kind].add(bare(event.message_id))
        hours[f"{datetime.fromtimestamp(event.occurred_at // SECOND, UTC):%Y-%m-%d %H}", kind] += 1
        lists["tags"].update(dict.fromkeys(event.tags, 1))
        if kind == "failure":
            lists["reasons"][grouping.reason(event.code, event.extended, event.description, event.state)] += 1
        elif kind == "click":
            lists["links"][grouping.link(event.url)] += 1
    for found in lists.values():
        found.pop("", None)
    return {
        "kinds": {kind: (numbers[kind], len(messages[kind])) for kind in numbers},
        "hours": dict(hours),
        **{name: dict(found) for name, found in lists.items() if found},
    }


def kept(store: Store, mailing: int) -> dict[str, Any]:
    """The same, as the pages show it."""
    found = figures_of(store, mailing)
    assert found is not None
    return {
        "kinds": {kind: tuple(numbers) for kind, numbers in found.kinds.items() if numbers.total},
        "hours": {(hour, kind): n for kind, hours in found.hours.items() for hour, n in hours.items()},
        **{name: dict(found.tops[name]) for name in ("reasons", "links", "tags") if found.tops.get(name)},
    }
