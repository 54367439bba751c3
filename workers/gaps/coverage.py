"""The table `coverage`: what endpoint processes said that they surely took, taken over from Redis.

A row is one period of one process. When the clock of Redis jumps, rows of machines that go on are set right by the
clock of each machine since its start; others cannot be. The row with an empty name stands for rows that are no
longer kept: up to its `through`, no calls are missing but those of the gaps in the table `gaps`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from ingest.copernica.events import MICROS
from ingest.stream.coverage import COVERED, Statement
from workers.gaps.intervals import Interval
from workers.store import tables
from workers.store.store import Store

#: The name of the row that stands for what is no longer kept.
BASE = ""
#: µs for which rows are kept: an endpoint that gets no answer from Redis for so long, while another one does, may
#: still say what it took, and only make a gap smaller by that.
KEPT = 3600 * MICROS
#: µs from which on a clock counts as having jumped; below it, it was set bit by bit, or asked over a slow network.
JUMP = MICROS


class Covered(NamedTuple):
    """A row of the table, in the order of its columns."""

    endpoint: str
    since: int
    through: int
    ended: str | None = None
    boot: str | None = None
    up_since: int = 0
    up_through: int = 0

    @property
    def interval(self) -> Interval:
        """The period."""
        return self.since, self.through

    def joined(self, other: "Covered") -> "Covered":
        """What was said twice of one period, in no certain order."""
        since, through = min(self.since, other.since), max(self.through, other.through)
        up_since, up_through = min(self.up_since, other.up_since), max(self.up_through, other.up_through)
        ended = other.ended or self.ended
        return self._replace(since=since, through=through, up_since=up_since, up_through=up_through, ended=ended)


def _said(one: Statement) -> Covered:
    return Covered(one.name, one.since, one.through, one.ended, one.boot, one.up_since, one.up_through)


def merged(known: Iterable[Covered], statements: Sequence[Statement], now: int) -> list[Covered]:
    """The rows after processes have said this; `now` is the time by the clock of Redis."""
    rows = {row.endpoint: row for row in known}
    for one in statements:
        if one.kind != COVERED:
            continue
        said, before = _said(one), rows.get(one.name)
        rows[one.name] = before.joined(said) if before is not None and one.is_found else said
    ahead: dict[str, tuple[int, int]] = {}
    for one in statements:
        if one.boot is not None and not one.is_found:
            ahead[one.boot] = max(ahead.get(one.boot, (0, 0)), (one.up_at, one.at - one.up_at))
    for started, (_, by) in ahead.items():
        rows |= {
            row.endpoint: row for row in _set_right([one for one in rows.values() if one.boot == started], by)
        }
    return _not_later(rows.values(), now)


def _set_right(rows: Sequence[Covered], ahead: int) -> Iterator[Covered]:
    """Periods of one machine by the time of now, which is `ahead` of the machine's own.

    Those that were told before the clock was set back are moved with it. When it is set forward, they stay where
    they are, so that what lies between them stays too; only the last before that goes on until the first after it
    begins. Between two periods there is always the time that really was.
    """
    for row in rows:
        through = row.up_through + ahead
        since = min(row.since, row.up_since + ahead)
        later = [one for one in rows if one.up_since >= row.up_through < one.up_through]
        bound = min((one.since - (one.up_since - row.up_through) for one in later), default=through)
        if through > row.through + JUMP:
            since, through = row.since, max(row.through, min(through, bound))
        elif through >= row.through - JUMP:
            since, through = row.since, row.through
        if bound < through - JUMP:
            through = bound
        yield row._replace(since=since, through=max(through, since + 1))


def _not_later(rows: Iterable[Covered], now: int) -> list[Covered]:
    """Without what is still to come, by a clock that was set back since it was said."""
    rows = list(rows)
    kept = [
        row._replace(since=min(row.since, now - 1), through=min(row.through, now))
        for row in rows
        if row.endpoint != BASE
    ]
    for base in (row for row in rows if row.endpoint == BASE):
        through = base.through
        if through > now:
            through = min((row.since for row in kept), default=now)
        kept.append(base._replace(since=min(base.since, through), through=through))
    return kept


def settled(rows: Sequence[Covered], now: int) -> list[Covered]:
    """The same, with what is older than `KEPT` in the one row that stands for it."""
    if not rows:
        return []
    first = min(row.since for row in rows)
    through = max(now - KEPT, max((row.through for row in rows if row.endpoint == BASE), default=first), first)
    base = Covered(BASE, first, through)
    return [base, *(row for row in rows if row.endpoint != BASE and row.through > through)]


def read(connection: Connection) -> list[Covered]:
    """All rows."""
    return [Covered(*row) for row in connection.execute(select(tables.coverage))]


def write(store: Store, connection: Connection, before: Sequence[Covered], rows: Sequence[Covered]) -> None:
    """Make these rows of those before, within a transaction."""
    old, new = {row.endpoint: row for row in before}, {row.endpoint: row for row in rows}
    changed = [row for row in rows if old.get(row.endpoint) != row]
    gone = [name for name in old if name not in new]
    for name in (*gone, *(row.endpoint for row in changed if row.endpoint in old)):
        connection.execute(tables.coverage.delete().where(tables.coverage.c.endpoint == name))
    if changed:
        store.insert(connection, tables.coverage, changed)
