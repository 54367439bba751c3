"""Comparisons with the store that are under way, and what is stored meanwhile.

See docs/decisions/three-sources.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import not_

from sqlalchemy import Connection, func, select

from ingest.copernica.events import MICROS, Event
from workers.store import tables
from workers.store.backend import Row, new_key
from workers.store.recovered import PORTION, Look, message_hash
from workers.store.rows import KIND, MESSAGE, MOMENT, stored_time

#: Seconds after which a comparison counts as dead; if it is not, it is made again. As long as that of a process
#: which was killed is there, drains note calls for it in vain.
STALE = 4 * 3600
#: Most notes, of all comparisons together: some 100 MB. Beyond, the oldest counts as dead, so that drains do not
#: note calls for a process that was killed until the disk is full.
MOST_NOTES = 2_000_000


def note(
    connection: Connection, now: Look, rows: Sequence[Row], changed: Sequence[Row] = (), own: int | None = None
) -> None:
    """Tell comparisons, other than the `own`, which messages they cannot have seen all events of.

    What has `changed` may be of another time now, so that who reads meanwhile, in order, finds it nowhere.
    """
    noted = False
    for comparison in now.comparisons:
        if comparison.number == own:
            continue
        first, last = stored_time(comparison.since * MICROS), stored_time((comparison.until + 1) * MICROS)
        messages = {
            message_hash(row[MESSAGE])
            for row in rows
            if row[KIND] == comparison.type and first <= row[MOMENT] < last
        }
        messages |= {message_hash(row[MESSAGE]) for row in changed if row[KIND] == comparison.type}
        if messages:
            _insert(connection, comparison.number, sorted(messages))
            noted = True
    if noted and _number_of_notes(connection) > MOST_NOTES:
        number = tables.comparisons.c.number
        oldest = connection.execute(select(func.min(number))).scalar()
        connection.execute(tables.comparisons.delete().where(number == oldest))
        _forget_notes(connection)


def _number_of_notes(connection: Connection) -> int:
    """At most: counting them would read them all. In two questions, for each of which SQLite uses the key."""
    number = tables.comparison_calls.c.number
    first, last = (select(end(number)).scalar_subquery() for end in (func.min, func.max))
    return int(connection.execute(select(last - first + 1)).scalar_one())


def _insert(connection: Connection, comparison: int, messages: Sequence[int]) -> None:
    """As text: with parameters, each message took longer than all else about its call."""
    for at in range(0, len(messages), PORTION):
        values = ", ".join(f"({comparison}, {message})" for message in messages[at : at + PORTION])
        connection.exec_driver_sql(f"INSERT INTO comparison_calls (comparison, message) VALUES {values}")  # noqa: S608


@dataclass(slots=True)
class Comparison:
    """One's own comparison, and the messages of which something was stored meanwhile, as far as that was read."""

    number: int
    messages: set[int] = field(default_factory=set)
    #: Whether it was taken for dead, so that nobody noted anything for it any more.
    lost: bool = False
    _through: int = 0

    def learn(self, connection: Connection) -> None:
        """Read of which messages something was stored; nobody stores anything before the transaction ends."""
        columns = tables.comparison_calls.c
        this = tables.comparisons.c.number == self.number
        # As of a machine that slept in between.
        self.lost = self.lost or connection.execute(select(tables.comparisons).where(this)).first() is None
        query = select(columns.number, columns.message).where(
            columns.comparison == self.number, columns.number > self._through
        )
        for number, message in connection.execute(query):
            self._through = max(self._through, number)
            self.messages.add(message)

    def divided(self, events: Sequence[Event]) -> tuple[Sequence[Event], Sequence[Event]]:
        """Events of those messages, which have to be compared again, and all others."""
        if self.lost:
            return events, ()
        if not self.messages:
            return (), events
        late = [message_hash(event.message_id) in self.messages for event in events]
        return list(compress(events, late)), list(compress(events, map(not_, late)))


def announce(connection: Connection, kind: str, seconds: range, now: int) -> Comparison:
    """Begin a comparison of events of a type and time; the transaction has taken turns. `now` in Unix seconds."""
    forget_dead(connection, now)
    row = {"type": kind, "since": seconds.start, "until": seconds.stop, "began": now}
    made = connection.execute(tables.comparisons.insert().values(row))
    return Comparison(new_key(made))


def conclude(connection: Connection, number: int) -> None:
    """End a comparison."""
    connection.execute(tables.comparisons.delete().where(tables.comparisons.c.number == number))
    connection.execute(tables.comparison_calls.delete().where(tables.comparison_calls.c.comparison == number))


def forget_dead(connection: Connection, now: int) -> None:
    """Forget comparisons whose processes died, and what was noted for them; `now` in Unix seconds."""
    connection.execute(tables.comparisons.delete().where(tables.comparisons.c.began < now - STALE))
    _forget_notes(connection)


def _forget_notes(connection: Connection) -> None:
    """Forget what was noted for comparisons that are gone."""
    under_way = select(tables.comparisons.c.number)
    left = tables.comparison_calls.c.comparison.not_in(under_way)
    connection.execute(tables.comparison_calls.delete().where(left))
