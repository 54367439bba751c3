"""Which days' totals are to be compared, and what the daily job says of them.

A day whose log files are all in the store is compared at once, and again each day until its totals agree, for
`AGAIN_FOR`. What then still differs is told for ever, but nothing waits for it any more.
"""

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from ingest.errors import Forbidden
from ingest.settings import Settings
from workers.reconcile import history as reconciled
from workers.store.store import Store
from workers.totals import history
from workers.totals.audit import audit
from workers.totals.history import AGAIN_FOR
from workers.totals.report import DayTotals

log = logging.getLogger(__name__)

#: Least time between two attempts: a little less than a day, so that a daily job that begins earlier makes one.
PAUSE = timedelta(hours=20)


def due(store: Store, today: date, now: datetime | None = None) -> list[date]:
    """The days before today to compare now, the oldest first."""
    now = now or datetime.now(UTC)
    found = history.verdicts(store)
    complete = [day for day, tried in reconciled.tried(store).items() if tried.complete]

    def is_due(day: date) -> bool:
        verdict = found.get(day)
        # One that seems to come from the future was noted by a clock that was wrong.
        rested = verdict is None or not timedelta() <= now - verdict.last_at < PAUSE
        return rested and not (verdict is not None and verdict.agrees)

    return sorted(day for day in complete if today - AGAIN_FOR <= day < today and is_due(day))


def compare_due(settings: Settings, today: date, breathe: Callable[[], object]) -> int:
    """Compare the totals of the days that are due; returns how many agree.

    Raises:
        InvalidToken, Interrupted, Unavailable: nothing more can be done now.
    """
    if settings.audit_mailings == "off":
        return 0
    with Store.of(settings) as store:
        days = due(store, today)
    agreeing = 0
    try:
        for found in audit(settings, days, lambda *_: None, breathe):
            agreeing += bool(found.agrees)
            _log(found)
    except Forbidden as error:
        log.warning("totals are not compared: %s", error, extra={"event": "totals-forbidden"})
    return agreeing


def _log(found: DayTotals) -> None:
    if found.agrees:
        log.info("all totals of %s agree", found.day)
    else:
        log.warning("totals of %s: %s", found.day, found.why, extra={"event": "totals-differ"})
