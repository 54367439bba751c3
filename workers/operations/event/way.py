"""The way of one event, step by step, with times: from Copernica to the last handler.

    occurred ─▶ signed ─▶ received ─▶ written ─▶ stored ─▶ (handed on) ─▶ attempt … ─▶ given up
       └─▶ missed, in a gap ─▶ recovered from a log file or a result ─▶ upgraded by its late call

What is not known of a step is left out, never guessed: when a call was stored is kept for a month
(`workers.store.commits`), and of handlers as much as `workers.handlers.history` keeps.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import or_, select

from ingest.copernica.events import MICROS, WEBHOOK, Event
from workers.gaps.gap import NEAR, Cut, cuts
from workers.handlers import history
from workers.operations.event.handing import Letter, Waits, letters, waiting
from workers.operations.exporting import moment
from workers.reconcile.history import WHOLE_DAY
from workers.store import commits, tables
from workers.store.commits import Stored
from workers.store.rows import micros
from workers.store.store import Store

#: Commits that are shown of one call, at most: somebody may send the same call all day.
MOST_COMMITS = 10
#: Attempts of handlers that are shown, the last ones: somebody may replay it every day.
MOST_ATTEMPTS = 50


class What(StrEnum):
    """What happened; in the order of the way."""

    #: By Copernica's clock.
    OCCURRED = "occurred"
    #: Copernica signed the call.
    SIGNED = "signed"
    #: It occurred in a period in which calls may be missing.
    MISSED = "missed"
    #: It came from a log file or a result over REST.
    RECOVERED = "recovered"
    #: An endpoint process had the whole call.
    RECEIVED = "received"
    #: Redis had its batch.
    WRITTEN = "written"
    #: A drain committed it.
    STORED = "stored"
    #: Its call came when it had been recovered already: the event says now what the call does.
    UPGRADED = "upgraded"
    #: The same call came again, or its batch was done again.
    AGAIN = "again"
    #: It is not decided yet which handlers want it.
    UNDECIDED = "undecided"
    #: A handler was called with it.
    ATTEMPT = "attempt"
    #: It waits for a handler.
    WAITS = "waits"
    #: A handler did not take it: a dead letter.
    GIVEN_UP = "given-up"
    #: The log files of its day were compared with the store.
    COMPARED = "compared"


class State(StrEnum):
    """How a step is to be seen."""

    DONE = "done"
    FAILED = "failed"
    UNDER_WAY = "under-way"


@dataclass(frozen=True, slots=True)
class Step:
    """One step. Times are µs since 1970, by the clock of whatever did it; None if that is not known."""

    what: What
    at: int | None
    state: State = State.DONE
    #: The endpoint process, the drain or the handler; the source of what was recovered.
    by: str = ""
    #: The stream's id of the batch, and how many calls it had.
    batch: str = ""
    calls: int | None = None
    #: Of handlers: which attempt it was, or how many there were; how long it took, in seconds.
    attempt: int | None = None
    seconds: float | None = None
    #: A word that says more: of a gap its cause, of an attempt its outcome, of a day whether it is complete.
    word: str = ""
    #: What went wrong, in a line and in full.
    error: str = ""
    traceback: str = ""
    #: What a forward target answered.
    status: int | None = None
    #: When it goes on, or when the gap ended; None if it is not known.
    until: int | None = None
    #: Where it begins, for a gap; in µs since 1970.
    since: int | None = None
    #: The delivery id of the call that came late.
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """All steps of an event, in their order, and whether what waits for handlers was all looked through."""

    steps: tuple[Step, ...]
    is_complete: bool

    @property
    def is_under_way(self) -> bool:
        """Whether something is still to happen."""
        return any(step.state is State.UNDER_WAY for step in self.steps)

    def as_json(self) -> list[dict[str, Any]]:
        """For scripts; what a step does not have is left out."""
        return [_as_json(step) for step in self.steps]


def way_of(store: Store, event: Event) -> Way:
    """What is known of the way of an event.

    Raises:
        Unavailable: the database cannot be used now.
    """
    steps = list(_arrival(store, event))
    pending = waiting(store, event.delivery_id)
    after = [*_attempts(store, event), *map(_waits, pending.waits)]
    tried = {(step.by, step.attempt) for step in after if step.what is What.ATTEMPT}
    after += [_given_up(one, (one.handler, one.attempts) in tried) for one in letters(store, event.delivery_id)]
    after += _compared(store, event)
    never = max((step.at or 0 for step in after), default=0) + 1
    after.sort(key=lambda step: step.at if step.at is not None else never)
    return Way((*steps, *after), pending.complete)


def _arrival(store: Store, event: Event) -> Iterator[Step]:
    """From Copernica into the store."""
    if event.occurred_at != event.received_at:  # else it does not tell when
        yield Step(What.OCCURRED, event.occurred_at)
    noted = tables.recovered.c
    with store.reading() as connection:
        query = select(noted.call_id).where(noted.delivery_id == event.delivery_id)
        recovered = connection.execute(query).one_or_none()
        was_recovered = recovered is not None or event.source != WEBHOOK
        gaps = _gaps(connection, event.occurred_at) if was_recovered else []
        call = event.delivery_id if recovered is None else bytes(recovered.call_id or b"")
        stored = commits.of_event(connection, call)[:MOST_COMMITS]
    yield from map(_missed, gaps)
    if was_recovered:
        # A late call has put its own time in the place of that of the recovery.
        at = None if event.source == WEBHOOK else event.received_at
        yield Step(What.RECOVERED, at, by="" if event.source == WEBHOOK else event.source)
    if event.source == WEBHOOK:
        yield from _call(event, call, stored, late=was_recovered)


def _call(event: Event, call: bytes, stored: list[Stored], late: bool) -> Iterator[Step]:
    if call:
        yield Step(What.SIGNED, int.from_bytes(call[:4], "big") * MICROS)
    first = stored[0] if stored else None
    batch = first.batch if first else None
    yield Step(What.RECEIVED, event.received_at, by=batch.endpoint if batch else "")
    if batch:
        yield Step(What.WRITTEN, batch.written_at, batch=batch.entry, calls=batch.calls)
    what = What.UPGRADED if late else What.STORED
    call_id = call.hex() if late else ""
    yield Step(what, first.stored_at if first else None, by=first.drain if first else "", call_id=call_id)
    for again in stored[1:]:
        entry = again.batch.entry if again.batch else ""
        yield Step(What.AGAIN, again.stored_at, by=again.drain, batch=entry)


def _gaps(connection: Any, moment: int) -> list[Cut]:
    columns, near = tables.gaps.c, NEAR * MICROS
    over = or_(columns.until.is_(None), columns.until >= moment - near)
    return cuts(connection, columns.since <= moment + near, over)


def _missed(gap: Cut) -> Step:
    return Step(What.MISSED, None, since=gap.since, until=gap.until, word=gap.cause.value)


def _attempts(store: Store, event: Event) -> Iterator[Step]:
    """What handlers did with it, as far as that is kept."""
    for one in history.of_event(store, event.delivery_id)[-MOST_ATTEMPTS:]:
        yield Step(
            What.ATTEMPT,
            one.began_at,
            State.FAILED if one.failed else State.DONE,
            by=one.handler,
            calls=one.calls,
            attempt=one.attempt,
            seconds=one.seconds,
            word=one.outcome.value,
            error=one.error,
            traceback=one.traceback,
            status=one.status,
        )


def _waits(one: Waits) -> Step:
    if not one.handler:
        return Step(What.UNDECIDED, None, State.UNDER_WAY)
    at_work = one.leased_until > 0
    return Step(
        What.WAITS,
        None,
        State.UNDER_WAY,
        by=one.handler,
        attempt=one.attempts,
        until=one.leased_until if at_work else one.due_at,
        word="at-work" if at_work else "",
        error=one.error,
    )


def _given_up(letter: Letter, is_told: bool) -> Step:
    """A dead letter; the traceback only where no attempt shows it already."""
    return Step(
        What.GIVEN_UP,
        letter.failed_at,
        State.FAILED,
        by=letter.handler,
        attempt=letter.attempts,
        error=letter.error,
        traceback="" if is_told else letter.traceback,
    )


def _compared(store: Store, event: Event) -> list[Step]:
    """When the log files of its day were compared last."""
    columns = tables.reconciliations.c
    day = datetime.fromtimestamp(event.occurred_at / MICROS, UTC).date()
    query = (
        select(columns.finished_at, columns.complete, columns.error)
        .where(columns.day == day, columns.kind == WHOLE_DAY)
        .order_by(columns.complete.desc(), columns.finished_at.desc())
        .limit(1)
    )
    with store.reading() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return []
    word = "complete" if row.complete else "incomplete"
    return [Step(What.COMPARED, micros(row.finished_at), by=day.isoformat(), word=word, error=row.error or "")]


def _as_json(step: Step) -> dict[str, Any]:
    said = {name: value for name, value in asdict(step).items() if value not in (None, "")}
    return said | {name: moment(said[name]) for name in ("at", "until", "since") if name in said}
