"""Finds a recipient's or a message's events in SQLite, at any size and without slowing the drain down.

An ordinary index on addresses is written all over the place: with five million events, each insert changes a page
of its own, and a drain is at half its speed. So entries are gathered into runs instead, as log-structured stores
do: whenever `RUN_ROWS` events have come in, their addresses and message ids are sorted once and appended. A search
looks into every run and through the events that came after the last one.

    finder_runs   run → first and last `row` of `events` in it
    finder        (run, term, row): a term is a message id, or an address in lower case
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, text

from workers.store.backend import INDEXED

#: Events of one run: sorting them takes half a second, searching them unsorted a tenth.
RUN_ROWS = 250_000

_TERMS = f"""
    SELECT lower(substr(recipient, 1, {INDEXED})) AS term, row FROM events
    WHERE row BETWEEN :first AND :last AND recipient IS NOT NULL
    UNION ALL
    SELECT message_id, row FROM events WHERE row BETWEEN :first AND :last AND message_id IS NOT NULL
"""
_ROWS = f"""
    events.row IN (
        SELECT row FROM finder WHERE run IN (SELECT run FROM finder_runs) AND term = :term
        UNION ALL
        SELECT row FROM events WHERE row > (SELECT coalesce(max(last), 0) FROM finder_runs)
            AND (message_id = :term OR lower(substr(recipient, 1, {INDEXED})) = :term))
"""


def rows_with(term: str) -> ColumnElement[bool]:
    """The condition that an event has this term: a message id, or an address in lower case."""
    return text(_ROWS).bindparams(term=term)  # type: ignore[return-value]


def make_run(connection: Connection) -> bool:
    """Sort the next run, if there are enough events for one."""
    last = connection.execute(text("SELECT coalesce(max(last), 0) FROM finder_runs")).scalar_one()
    newest = connection.execute(text("SELECT coalesce(max(row), 0) FROM events")).scalar_one()
    if newest - last < RUN_ROWS:
        return False
    span = {"first": last + 1, "last": last + RUN_ROWS}
    made = connection.execute(text("INSERT INTO finder_runs (first, last) VALUES (:first, :last)"), span)
    connection.execute(
        # A message id may be the address itself.
        text(f"INSERT OR IGNORE INTO finder SELECT :run, term, row FROM ({_TERMS}) ORDER BY term, row"),
        span | {"run": made.lastrowid},
    )
    return True


def remove(connection: Connection, entries: Sequence[tuple[int, str | None, str | None]]) -> None:
    """Drop the entries of events, each given by its row, its recipient and its message id."""
    terms = [
        {"row": row, "term": term}
        for row, recipient, message_id in entries
        for term in (lower(recipient[:INDEXED]) if recipient is not None else None, message_id)
        if term is not None
    ]
    if terms:
        runs = "SELECT run FROM finder_runs WHERE :row BETWEEN first AND last"
        statement = f"DELETE FROM finder WHERE run IN ({runs}) AND term = :term AND row = :row"
        connection.execute(text(statement), terms)


def forget_empty(connection: Connection) -> None:
    """Drop runs that have no entries any more, but for the newest, which says how far runs go."""
    connection.execute(
        text(
            "DELETE FROM finder_runs WHERE last < (SELECT max(last) FROM finder_runs) "
            "AND NOT EXISTS (SELECT 1 FROM finder WHERE finder.run = finder_runs.run)"
        )
    )


def lower(term: str) -> str:
    """As SQLite's own `lower` does it: ASCII letters only."""
    return term.translate(_ASCII_LOWER)


_ASCII_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
