"""Finds a recipient's or a message's events in SQLite, at any size and without slowing the drain down.

An ordinary index on addresses is written at random places: with five million events, each insert changes a page
of its own, and a drain runs at half its speed. So entries are gathered into runs instead, as log-structured stores
do: whenever `RUN_ROWS` events have come in, their addresses and message ids are sorted once and appended. A search
looks into every run, and through the events that came after the last one.

    finder_runs     run → first and last `row` of `events` in it
    finder_hashes   (run, hash, row): of a term, which is a message id, or an address in lower case
    finder          (run, term, row): the same in runs that releases before 0.3 made

A hash takes four bytes in place of a whole address. Few terms share one, and the columns themselves decide.
"""

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Connection,
    ScalarSelect,
    Select,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)

from workers.store.backend import INDEXED
from workers.store.sqlite_tables import finder, finder_hashes, finder_runs, numbered_events

#: Events in one run: as many are searched unsorted at most, which takes 3 ms, and a run costs a search 2 µs.
RUN_ROWS = 25_000

#: The name by which SQL calls `term_hash`.
HASH = "term_hash"
#: The bits of a hash: SQLite keeps numbers of up to 31 in four bytes.
_BITS = 0x7FFF_FFFF

_ASCII_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_EVENTS = numbered_events.c
_address = func.lower(func.substr(_EVENTS.recipient, 1, INDEXED))

#: What a deletion from `events` must return, so that the entries can be removed from the index.
INDEXED_COLUMNS = (_EVENTS.row, _EVENTS.recipient, _EVENTS.message_id)


class Indexed(NamedTuple):
    """What the index holds of an event: `INDEXED_COLUMNS` of its row."""

    row: int
    recipient: str | None
    message_id: str | None


def term_hash(term: str) -> int:
    """What runs hold of a term."""
    return crc32(term.encode("utf-8", "replace")) & _BITS


def newest_row() -> ScalarSelect[int]:
    """The number of the event that came last; 0 if there is none."""
    return select(func.coalesce(func.max(_EVENTS.row), 0)).scalar_subquery()


def _last_indexed() -> ScalarSelect[int]:
    return select(func.coalesce(func.max(finder_runs.c.last), 0)).scalar_subquery()


def rows_of_message(message_id: str) -> ColumnElement[bool]:
    """A condition: the event is of this message, or may be, since only hashes are compared."""
    return literal_column("events.row").in_(
        union_all(*_in_runs(message_id), _after_runs(_EVENTS.message_id == message_id))
    )


def rows_of_recipient(address: str, newest: int = 0) -> ColumnElement[bool]:
    """The same of a recipient, of whom only so many of the events are looked at that were stored last; 0: all.

    The address is cut as `INDEXED` says, and its ASCII letters are in lower case.
    """
    # There may be ten thousand: a recipient that is compared as a whole needs neither be cut nor copied.
    same = _EVENTS.recipient.collate("NOCASE") == address if len(address) < INDEXED else _address == address
    folded = select(_EVENTS.row).where(_EVENTS.folded_recipient == address)
    found = union_all(*_in_runs(address), _after_runs(same), folded)
    # The query's own table is `tables.events`, which does not know the column.
    if not newest:
        return literal_column("events.row").in_(found)
    rows = found.subquery()
    return literal_column("events.row").in_(select(rows.c.row).order_by(rows.c.row.desc()).limit(newest))


def has_more_than(connection: Connection, address: str, most: int) -> bool:
    """Whether the runs have more entries of a recipient than so many."""
    entries = union_all(*_in_runs(address)).limit(most + 1).subquery()
    return connection.execute(select(func.count()).select_from(entries)).scalar_one() > most


def _in_runs(term: str) -> list[Select[int]]:
    runs = select(finder_runs.c.run)
    hashes = select(finder_hashes.c.row).where(
        finder_hashes.c.run.in_(runs), finder_hashes.c.hash == term_hash(term)
    )
    return [hashes, select(finder.c.row).where(finder.c.run.in_(runs), finder.c.term == term)]


def _after_runs(same: ColumnElement[bool]) -> Select[int]:
    return select(_EVENTS.row).where(_EVENTS.row > _last_indexed(), same)


def rows_with_messages(message_ids: Sequence[str]) -> ColumnElement[bool]:
    """A condition: the event is of one of these messages, or may be, since only their hashes are compared."""
    runs = select(finder_runs.c.run)
    hashes = {term_hash(message_id) for message_id in message_ids}
    in_runs = select(finder_hashes.c.row).where(finder_hashes.c.run.in_(runs), finder_hashes.c.hash.in_(hashes))
    in_old_runs = select(finder.c.row).where(finder.c.run.in_(runs), finder.c.term.in_(message_ids))
    after_runs = select(_EVENTS.row).where(_EVENTS.row > _last_indexed(), _EVENTS.message_id.in_(message_ids))
    return literal_column("events.row").in_(union_all(in_runs, in_old_runs, after_runs))


def make_run(connection: Connection) -> bool:
    """Make the next run if there are enough events for one; returns whether it did."""
    last, newest = connection.execute(select(_last_indexed(), newest_row())).one()
    if newest - last < RUN_ROWS:
        return False
    first, last = last + 1, last + RUN_ROWS
    new_run = finder_runs.insert().values(first=first, last=last).returning(finder_runs.c.run)
    run = connection.execute(new_run).scalar_one()
    entries = _entries(first, last).subquery()
    in_order = select(literal(run), entries.c.hash, entries.c.row).order_by(entries.c.hash, entries.c.row)
    # If a message id equals the address, there is one entry for both.
    insert = finder_hashes.insert().prefix_with("OR IGNORE")
    columns = finder_hashes.c
    connection.execute(insert.from_select([columns.run, columns.hash, columns.row], in_order))
    return True


def _entries(first: int, last: int) -> CompoundSelect[tuple[int | None, int]]:
    """The hashes of the terms of the events of a run."""
    in_run = _EVENTS.row.between(first, last)
    hashed = getattr(func, HASH)
    return union_all(
        select(hashed(_address).label("hash"), _EVENTS.row).where(in_run, _EVENTS.recipient.is_not(None)),
        select(hashed(_EVENTS.message_id), _EVENTS.row).where(in_run, _EVENTS.message_id.is_not(None)),
    )


def remove(connection: Connection, events: Sequence[Indexed]) -> None:
    """Remove the entries of events that were deleted, as far as there are any yet."""
    last = connection.execute(select(_last_indexed())).scalar_one() if events else 0
    entries = [
        {"of_row": event.row, "of_term": term, "of_hash": term_hash(term)}
        for event in events
        if event.row <= last
        for term in (None if event.recipient is None else lower(event.recipient[:INDEXED]), event.message_id)
        if term is not None
    ]
    if not entries:
        return
    row: BindParameter[int] = bindparam("of_row")
    runs = select(finder_runs.c.run).where(row.between(finder_runs.c.first, finder_runs.c.last))
    for table, same in (
        (finder_hashes, finder_hashes.c.hash == bindparam("of_hash")),
        (finder, finder.c.term == bindparam("of_term")),
    ):
        connection.execute(table.delete().where(table.c.run.in_(runs), same, table.c.row == row), entries)


def forget_empty(connection: Connection) -> None:
    """Delete runs that have no entries any more, except for the newest, which says how far the runs go."""
    older = finder_runs.c.last < select(func.max(finder_runs.c.last)).correlate(None).scalar_subquery()
    used = [exists().where(table.c.run == finder_runs.c.run) for table in (finder_hashes, finder)]
    connection.execute(finder_runs.delete().where(older, ~or_(*used)))


def lower(term: str) -> str:
    """As SQLite's own `lower` does it: ASCII letters only."""
    return term.translate(_ASCII_LOWER)
