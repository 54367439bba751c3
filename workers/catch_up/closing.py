"""When a gap is closed: not before a look that finds nothing new, and never on an error.

    due ─▶ look ─▶ something was stored, or it was the first look ─▶ `PAUSE` ─▶ look ─▶ … ─▶ closed
             │                                                                    │
             └── what went wrong, or what is not known ◀──────────────────────────┘
                 ─▶ another look later; after `GIVE_UP`, only log files can close it

Copernica may have a result later than its webhook was sent. Whether it does shows on the events around the gap
that came in by webhook: while some of these have no result yet, others may be missing, too, and the gap is looked
at again until `LATE` after its end.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ingest.copernica.events import MICROS
from ingest.errors import IngestError, Interrupted, InvalidToken, RestError
from ingest.shown import counted
from workers import gaps
from workers.catch_up.fetching import Period
from workers.catch_up.look import Context, look_at, windows
from workers.catch_up.report import Look
from workers.gaps import Gap
from workers.gaps.filling import shared_time
from workers.reconcile import in_flight

log = logging.getLogger(__name__)

#: Seconds at least between two fetches of the same results, and most looks of one run.
PAUSE, MOST_LOOKS = 5.0, 3
#: Seconds after the end of a gap from which results that are not there count as such that will not come.
LATE = 300
#: Seconds after the end of a gap from which a look may close it: after a mailing that ended with the outage, no
#: later event would tell that results are late. The first look begins sooner, and stores what is there.
SETTLED = 120
#: Seconds that Redis' clock may be wrong by: with a margin on both sides, the right period is still asked for.
WRONG = 300
#: Seconds until a gap is tried again: at first and at most, doubled with each attempt.
FIRST_RETRY, LAST_RETRY = 60, 3600
#: Seconds after the end of a gap from which it is left to the log files, which are there by then.
GIVE_UP = 3 * 86_400
#: Seconds to wait for calls that are still on their way to the store, such as those that a spool had.
IN_FLIGHT = 20.0
#: Seconds between two renewals of a lease.
RENEW_EVERY = 20.0


@dataclass(slots=True)
class Outcome:
    """What became of a gap, or of a period that somebody named."""

    since: datetime
    until: datetime
    causes: list[str] = field(default_factory=list)
    look: Look = field(default_factory=Look)
    #: Why it is not closed, in one sentence; empty if it is, or if everything is in the store.
    open: str = ""
    #: How many gaps that closed.
    closed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "since": _written(self.since),
            "until": _written(self.until),
            "causes": self.causes,
            "open": self.open or None,
            "gaps_closed": self.closed,
            **self.look.as_dict(),
            "notes": self.look.notes,
        }


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Lease:
    """Keeps a gap ours while it is filled, and lets others breathe."""

    def __init__(self, context: Context, gap: Gap) -> None:
        self._context = context
        self._gap = gap
        self._renewed = time.monotonic()

    def breathe(self) -> None:
        """As of the context.

        Raises:
            Interrupted: another process fills the gap by now, or this one was asked to stop.
        """
        self._context.breathe()
        if time.monotonic() - self._renewed >= RENEW_EVERY:
            self._renewed = time.monotonic()
            if not gaps.renew(self._context.store, self._gap):
                raise Interrupted("Another process fills this gap by now.")


def fill_due(context: Context) -> Iterator[Outcome]:
    """Fill the gaps that are due, the oldest first, and say what became of each.

    Raises:
        InvalidToken: Copernica does not accept the token, so that it would not fill the others either.
        Interrupted: this process was asked to stop; what was found until then is stored.
        Unavailable: the database, Redis or the disk cannot be used now.
    """
    for due in gaps.due(context.store):
        gap = gaps.begin(context.store, due)
        if gap is None:
            continue
        outcome = Outcome(gap.begin, gap.end, [str(cause) for cause in gap.causes])
        try:
            _fill(context._replace(breathe=Lease(context, gap).breathe), gap, outcome)
        except RestError as error:
            _failed(context, gap, str(error))
            if isinstance(error, InvalidToken):
                raise
            outcome.open = str(error)
        except BaseException as error:
            # What fails each time must neither be tried again and again, nor keep other gaps waiting.
            soon = isinstance(error, Interrupted) or not isinstance(error, Exception)
            _failed(context, gap, _reason(error), soon)
            raise
        yield outcome


def _fill(context: Context, gap: Gap, outcome: Outcome) -> None:
    """Fill a gap part by part, so that a long one that is interrupted goes on where it was."""
    period = period_of(max(gap.since, gap.filled_through), gap.until)
    if context.dry_run:
        outcome.look = look_at(context, period)
        outcome.open = outcome.look.wrong or "This was a dry run: nothing was stored."
        _failed(context, gap, "", soon=True)
        return
    in_flight.wait(context.settings, context.store, IN_FLIGHT, context.watch)
    for window in windows(period):
        look, outcome.open = _settled(context, window)
        outcome.look.add(look)
        if outcome.open:
            _failed(context, gap, outcome.open)
            return
        gaps.note(context.store, gap, filled_through=window.until * MICROS)
    outcome.closed = gaps.close(context.store, gap, details(outcome.look))


def _settled(context: Context, window: Period, by_hand: bool = False) -> tuple[Look, str]:
    """Look at a part of a gap until nothing new is found; returns what came of it, and why it is not settled.

    Somebody who waits for it is not kept waiting: then one look will do that finds nothing new.
    """
    total = Look()
    open_ = ""
    for number in range(MOST_LOOKS):
        if number and not by_hand:
            _pause(context, total, window)
        look = look_at(context, window, total if number else None)
        new, calls = look.recovered, look.calls
        look.recovered += total.recovered
        look.in_store -= total.recovered
        look.calls += total.calls
        total = look
        age = shared_time(context.store) / MICROS - window.until
        open_ = unsettled(total, new, first=not number and not by_hand, age=age)
        log.debug("look %d at %s: %d calls, %d events new, %s", number, window, calls, new, open_ or "settled")
        if not open_ or look.wrong:
            break
    return total, open_


def details(look: Look) -> dict[str, Any]:
    """What a gap that is closed says of how."""
    return {"by": "results", "results": look.as_dict()}


def unsettled(look: Look, new: int, first: bool, age: float) -> str:
    """Why a gap cannot be closed after a look, in one sentence; empty if it can.

    `new` events were stored by this look, the `first` one or not, `age` seconds after the gap's end.
    """
    if look.wrong:
        return look.wrong
    if abs(look.wrong_by) > WRONG:
        return (
            f"The clock of Redis, by which gaps are known, and Copernica's are {abs(look.wrong_by):,.0f} s apart: "
            "set it right, and fill this gap by hand, with `ingest catch-up --since …`."
        )
    if new:
        return f"{counted(new, 'event was', 'events were')} stored just now: Copernica is asked once more."
    known = look.in_store + look.recovered
    if look.only_in_store > known:
        return (
            f"Copernica has no results of {look.only_in_store:,} events that came in around the gap, and of only "
            f"{known:,} it has: see that INGEST_LOGFILE_TZ is right, and that the token may read results."
        )
    if look.only_in_store and age < LATE:
        them = counted(look.only_in_store, "event", "events")
        return f"Copernica has no results yet of {them} that came in around the gap."
    return "Copernica is asked once more." if first else ""


def period_of(since: int, until: int) -> Period:
    """The whole seconds of a period in µs."""
    return Period(since // MICROS, -(-until // MICROS))


def _pause(context: Context, look: Look, window: Period) -> None:
    """Wait until `PAUSE` after results were last fetched, and until a look may close the gap."""
    now = time.monotonic()
    settled = window.until + SETTLED - shared_time(context.store) / MICROS
    until = max((now if look.answered is None else look.answered.at) + PAUSE, now + settled)
    while (left := until - time.monotonic()) > 0:
        context.breathe()
        time.sleep(min(left, 0.25))


def _reason(error: BaseException) -> str:
    """Why an attempt ended. Only our own sentences are shown: others may quote what a row holds."""
    if isinstance(error, IngestError):
        return str(error)
    if isinstance(error, Exception):
        return f"It failed unexpectedly ({type(error).__name__}): see the worker's log."
    return "It was interrupted."


def _failed(context: Context, gap: Gap, reason: str, soon: bool = False) -> None:
    """Another attempt later; after `GIVE_UP`, none."""
    now = shared_time(context.store)
    wait = 0 if soon else min(FIRST_RETRY * 2 ** min(gap.attempts - 1, 10), LAST_RETRY)
    retry_at = now + wait * MICROS
    given_up = not soon and now - gap.until > GIVE_UP * MICROS
    gaps.failed(context.store, gap, reason, None if given_up else retry_at)


def fill_period(context: Context, since: datetime, until: datetime) -> Outcome:
    """Fill a period that somebody names; gaps within it are closed if nothing more is to be expected of it.

    Raises:
        RestError: not all of it could be fetched.
        Unavailable: the database or the disk cannot be used now.
    """
    outcome = Outcome(since, until)
    first, last = (int(moment.timestamp()) * MICROS for moment in (since, until))
    if context.dry_run:
        outcome.look = look_at(context, period_of(first, last))
        outcome.open = outcome.look.wrong
        return outcome
    in_flight.wait(context.settings, context.store, IN_FLIGHT, context.watch)
    settled = True
    for window in windows(period_of(first, last)):
        look, open_ = _settled(context, window, by_hand=True)
        outcome.look.add(look)
        settled = settled and not open_
    outcome.open = outcome.look.wrong
    if settled:
        outcome.closed = gaps.filled(context.store, first, last, details(outcome.look))
    return outcome
