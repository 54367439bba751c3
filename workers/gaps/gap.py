"""Gaps as values: periods in which calls may be missing, why, and what became of them.

    cause          the period                                        known from
    no-endpoint    no endpoint process surely took calls             what each says of itself (`coverage`)
    answered-503   calls were answered 503: nothing could keep them  the endpoint that did so
    spool-damaged  calls that had been kept in the spool were lost   the endpoint that put the damage aside
    store-older    the database lacks what it had: a backup             the mark in Redis (`lineage`)
    redis-older    Redis lacks what it had: emptied, or a backup        the mark in the database
    unreachable    Copernica could not reach the endpoint            its log file `feedback-loop-errors`

Times are in µs since 1970 by the clock of Redis, which all processes share.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, select

from ingest.copernica.events import MICROS
from workers.store import tables
from workers.store.rows import json_text, load
from workers.store.store import Store

#: Seconds between two gaps up to which they are filled as one: asking for a result takes a margin on both sides
#: anyway.
NEAR = 600
#: Who changes gaps or coverage takes turns under this name, for a moment each time.
TURNS = "ingest gaps"


class Cause(StrEnum):
    """Why calls may be missing."""

    NO_ENDPOINT = "no-endpoint"
    ANSWERED_503 = "answered-503"
    SPOOL_DAMAGED = "spool-damaged"
    UNREACHABLE = "unreachable"
    STORE_OLDER = "store-older"
    REDIS_OLDER = "redis-older"


#: Causes whose gaps do not follow what endpoints say: they are found once, elsewhere.
FOUND_ONCE = frozenset({Cause.UNREACHABLE, Cause.STORE_OLDER, Cause.REDIS_OLDER})


class State(StrEnum):
    """What became of a gap; docs/architecture.md has the diagram."""

    #: It lasts.
    OPEN = "open"
    #: It is over, and what is missing has not been fetched yet.
    ENDED = "ended"
    #: A worker fetches it.
    CATCHING_UP = "catching-up"
    #: Everything of it that Copernica has is in the store.
    CLOSED = "closed"
    #: Nothing tries any more; an import by hand may.
    CANNOT_BE_CLOSED = "cannot-be-closed"


#: States in which a gap's bounds still follow what is known of it.
FOLLOWING = frozenset({State.OPEN, State.ENDED})


@dataclass(frozen=True, slots=True)
class Cut:
    """One row of the table `gaps`: a period and one cause.

    Keys of `details`: `calls`, by what they are called that endpoints reported of; `ended`, how the last endpoint
    before a `no-endpoint` ended; `attempts` to fill it, the last one's `error`, `retry_at` (µs); while it is being
    filled, the `holder` of the lease and `lease_until` (µs); `by`, what closed it, and what that says of itself.
    """

    since: int
    cause: Cause
    #: None while it lasts.
    until: int | None
    state: State
    changed_at: int
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, str]:
        """That of the row."""
        return self.since, self.cause

    @property
    def calls(self) -> int:
        """Calls that are known to be missing or late, where they were counted."""
        counted = self.details.get("calls")
        return sum(counted.values()) if isinstance(counted, dict) else 0

    def turned(self, state: State, now: int, **details: Any) -> Self:
        """The same in another state, with these details changed; those that are None go."""
        changed = {**self.details, **details}
        kept = {name: value for name, value in changed.items() if value is not None}
        return replace(self, state=state, changed_at=now, details=kept)

    def put(self, store: Store, connection: Connection) -> None:
        """Write the row in place of the one with its key, within a transaction."""
        self.delete(connection)
        row = self.since, self.cause.value, self.until, self.state.value, self.changed_at, json_text(self.details)
        store.insert(connection, tables.gaps, [row])

    def delete(self, connection: Connection) -> None:
        """Delete the row, within a transaction."""
        columns = tables.gaps.c
        connection.execute(
            tables.gaps.delete().where(columns.since == self.since, columns.cause == self.cause.value)
        )


def cuts(connection: Connection, *conditions: ColumnElement[bool]) -> list[Cut]:
    """Rows of the table, by their time."""
    columns = tables.gaps.c
    query = select(tables.gaps).where(*conditions).order_by(columns.since, columns.cause)
    return [
        Cut(row.since, Cause(row.cause), row.until, State(row.state), row.changed_at, load(row.details))
        for row in connection.execute(query)
    ]


@dataclass(frozen=True, slots=True)
class Gap:
    """A period to be filled: one or several rows that overlap, or are near each other."""

    #: µs since 1970.
    since: int
    until: int
    causes: tuple[Cause, ...]
    state: State
    #: Times that somebody began to fill it.
    attempts: int
    rows: tuple[tuple[int, str], ...]
    #: Up to where everything is in the store already, in µs; `since` if that is not known of any part.
    filled_through: int = 0
    #: Who has the lease; see `workers.gaps.filling`.
    holder: str = ""

    @classmethod
    def of(cls, rows: Iterable[Cut]) -> Self:
        """The gap that these rows, all of which have ended, make together."""
        rows = list(rows)
        return cls(
            since=min(row.since for row in rows),
            until=max(row.until or row.since for row in rows),
            causes=tuple(sorted({row.cause for row in rows})),
            state=rows[0].state,
            attempts=max(int(row.details.get("attempts", 0)) for row in rows),
            rows=tuple(row.key for row in rows),
            filled_through=min(int(row.details.get("filled_through", row.since)) for row in rows),
        )

    @property
    def begin(self) -> datetime:
        """`since` as a time in UTC."""
        return datetime.fromtimestamp(self.since / MICROS, UTC)

    @property
    def end(self) -> datetime:
        """`until` as a time in UTC."""
        return datetime.fromtimestamp(self.until / MICROS, UTC)


def together(rows: Iterable[Cut], near: int = NEAR * MICROS) -> list[Gap]:
    """Rows that have ended as gaps to be filled, those as one that are at most so many µs apart."""
    groups: list[list[Cut]] = []
    reached = 0
    for row in sorted(rows, key=lambda row: row.since):
        if groups and row.since - reached <= near:
            groups[-1].append(row)
        else:
            groups.append([row])
        reached = max(reached, row.until or row.since)
    return [Gap.of(group) for group in groups]
