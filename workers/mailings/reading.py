"""Makes parts from the events of an hour: one read for all mailings whose part of that hour is stale."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, or_, select

from ingest.copernica.event_types import EventType
from workers.mailings import grouping
from workers.mailings.part import CLIENTS, DEVICES, LINKS, REASONS, TAGS, Part
from workers.store import tables
from workers.store.event_counts import NO_MAILING
from workers.store.store import Store

#: Events between two calls of `breathe`.
STEP = 50_000
#: Mailings that a query names one by one; of more, all events of the hour are read.
MOST_NAMED = 200
#: Messages whose mailing is looked up by one query.
LOOKED_UP = 1000

HOUR = timedelta(hours=1)
_EVENTS = tables.events.c
_READS = EventType.OPEN, EventType.CLICK

#: What is counted of a type, besides tags: into which list, by which function of which columns.
_CLIENT = CLIENTS, grouping.client, ("user_agent",)
_DEVICE = DEVICES, grouping.device, ("user_agent",)
_LISTS: Mapping[str, Sequence[tuple[str, Callable[..., str], Sequence[str]]]] = {
    EventType.FAILURE: ((REASONS, grouping.reason, ("code", "extended", "description", "state")),),
    EventType.OPEN: (_CLIENT, _DEVICE),
    EventType.CLICK: (_CLIENT, _DEVICE, (LINKS, grouping.link, ("url",))),
}

#: Parts by the mailing that events name, and that they are of: the same, unless they name none.
Parts = dict[tuple[int, int], Part]


def begin_of(hour: str) -> datetime:
    """When an hour of `event_counts` begins."""
    return datetime.strptime(hour, "%Y-%m-%d %H").replace(tzinfo=UTC)


def parts_of(
    store: Store, hour: str, kind: str, owners: Collection[int], breathe: Callable[[], object] = lambda: None
) -> Parts:
    """The parts of some owners in an hour. Of an owner whose events are gone, there is an empty one.

    Raises:
        Unavailable: the database cannot be used now.
        Interrupted: as `breathe` does.
    """
    found: Parts = {(owner, owner): Part() for owner in owners}
    unnamed: defaultdict[int, list[Any]] = defaultdict(list)
    told = 0
    own = {owner: found[owner, owner] for owner in owners}
    named = {owner for owner in owners if owner > 0}
    for rows in _rows(store, hour, kind, owners):
        of = [NO_MAILING if row.mailing is None else row.mailing for row in rows]
        if named.issuperset(of):
            _take(own, kind, of, rows)
        else:
            some = [at for at, owner in enumerate(of) if owner in named]
            _take(own, kind, [of[at] for at in some], [rows[at] for at in some])
            for owner, row in zip(of, rows, strict=True):
                if owner <= 0 and owner in own:
                    unnamed[owner].append(row)
        for owner, waiting in unnamed.items():
            if len(waiting) >= LOOKED_UP:
                _attribute(store, found, kind, owner, waiting)
                waiting.clear()
        told += len(rows)
        if told >= STEP:
            told = 0
            breathe()
    for owner, waiting in unnamed.items():
        _attribute(store, found, kind, owner, waiting)
    return found


def _rows(store: Store, hour: str, kind: str, owners: Collection[int]) -> Iterator[Sequence[Any]]:
    begin = begin_of(hour)
    moment, _ = store.seconds(_EVENTS.occurred_at)
    of_kind, more = store.by_time(kind)
    order: list[ColumnElement[Any]] = [moment, *more]
    columns: list[ColumnElement[Any]] = [
        _EVENTS.mailing,
        _EVENTS.message_id,
        cast(_EVENTS.tags, Text).label("tags"),
    ]
    if kind == EventType.FAILURE:
        columns += [_EVENTS.code, _EVENTS.extended, _EVENTS.description, _EVENTS.state]
    elif kind in _READS:
        columns += [_EVENTS.url, _EVENTS.user_agent]
    query = select(*order, *columns).where(of_kind, _EVENTS.occurred_at < begin + HOUR)
    if len(owners) <= MOST_NAMED:
        named = _EVENTS.mailing.in_(sorted(owners))
        query = query.where(or_(named, _EVENTS.mailing.is_(None)) if NO_MAILING in owners else named)
    return store.streamed(query, _EVENTS.occurred_at >= begin, order)


def _take(parts: Mapping[int, Part], kind: str, of: Sequence[int], rows: Sequence[Any]) -> None:
    """Count events, each for the part beside it: what many have in common is looked at once."""
    if not rows:
        return
    columns = dict(zip(rows[0]._fields, zip(*rows, strict=True), strict=True))

    def together(*names: str) -> Iterator[tuple[Any, ...]]:
        found = Counter(zip(of, *(columns[name] for name in names), strict=True))
        return ((parts[owner], number, *values) for (owner, *values), number in found.items())

    for part, number in together():
        part.number += number
    agent = ("user_agent",) if kind in _READS else ()
    for part, _, message, tags, *user_agent in together("message_id", "tags", *agent):
        if message is not None:
            part.messages.append(of_message := grouping.message(message))
            part.cut(TAGS, grouping.tags(tags), of_message)
            part.cut(DEVICES, tuple(map(grouping.device, user_agent)), of_message)
    for part, number, tags in together("tags"):
        for tag in grouping.tags(tags):
            part.count(TAGS, tag, number)
    for name, grouped, of_columns in _LISTS.get(kind, ()):
        for part, number, *values in together(*of_columns):
            part.count(name, grouped(*values), number)


def _attribute(store: Store, found: Parts, kind: str, owner: int, rows: Sequence[Any]) -> None:
    """Count events that name no mailing for that of their message, if `destinations` knows it; else for none."""
    for at in range(0, len(rows), LOOKED_UP):
        some = rows[at : at + LOOKED_UP]
        mailings = _mailings_of(store, {row.message_id for row in some if row.message_id is not None})
        of = [mailings.get(row.message_id) or owner for row in some]
        _take({mailing: found.setdefault((owner, mailing), Part()) for mailing in set(of)}, kind, of, some)


def _mailings_of(store: Store, messages: Collection[str]) -> Mapping[str, int]:
    columns = tables.destinations.c
    known = select(columns.message_id, func.max(columns.mailing).label("mailing")).where(
        columns.message_id.in_(sorted(messages)), columns.mailing > 0
    )
    with store.reading() as connection:
        return {row.message_id: row.mailing for row in connection.execute(known.group_by(columns.message_id))}
