"""How fast handlers are, and how often they fail: from their last runs."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from ingest.copernica.events import MICROS
from workers.handlers.run_notes import Outcome, upper_bound
from workers.store.console_tables import handler_runs
from workers.store.store import Store

#: Runs of a handler that its figures are made from, of either kind: a second's worth each while it is busy.
FIGURES_FROM = 250

_RUNS = handler_runs.c


@dataclass(frozen=True, slots=True)
class Speed:
    """How a handler has fared of late."""

    #: Calls per second in the last minute that came to an end, and of those in the same time that failed.
    per_second: float = 0.0
    failed_per_second: float = 0.0
    #: Seconds that half of the calls, or batches, took at most, and 99 of 100 did; None if there were none.
    p50: float | None = None
    p99: float | None = None
    #: How many times it was called for these two, and when the first of them was (µs since 1970).
    measured: int = 0
    since: int | None = None
    #: When it was last called, and last failed (µs since 1970).
    last_at: int | None = None
    last_failed_at: int | None = None


def seen(store: Store, most: int) -> list[str]:
    """The handlers of which runs are kept, by name, so many at most: each is looked up behind the one before."""
    names: list[str] = []
    query = select(func.min(_RUNS.handler))
    with store.reading() as connection:
        while len(names) < most:
            name = connection.execute(query.where(_RUNS.handler > names[-1]) if names else query).scalar()
            if name is None:
                break
            names.append(name)
    return names


def speed(store: Store, handler: str, now: int) -> Speed:
    """How a handler has fared of late; `now` in µs since 1970."""
    columns = _RUNS.began_at, _RUNS.ended_at, _RUNS.calls, _RUNS.durations, _RUNS.outcome
    query = select(*columns).where(_RUNS.handler == handler).order_by(_RUNS.number.desc()).limit(FIGURES_FROM)
    with store.reading() as connection:
        done, failed = (connection.execute(query.where(_RUNS.failed == kind)).all() for kind in (False, True))
    durations: Counter[int] = Counter()
    for row in (*done, *failed):
        if row.outcome != Outcome.UNWANTED:
            for bucket, number in json.loads(row.durations):
                durations[bucket] += number
    runs = [*done, *failed]
    return Speed(
        per_second=_rate(done, now) + (rate_of_failed := _rate(failed, now)),
        failed_per_second=rate_of_failed,
        p50=_quantile(durations, 0.5),
        p99=_quantile(durations, 0.99),
        measured=durations.total(),
        since=min((row.began_at for row in runs), default=None),
        last_at=max((row.ended_at for row in runs), default=None),
        last_failed_at=max((row.ended_at for row in failed), default=None),
    )


def _rate(rows: Sequence[Any], now: int) -> float:
    """Calls per second in the last minute; in as much of it as was looked at, if that is less."""
    since = now - 60 * MICROS
    if len(rows) == FIGURES_FROM:
        since = max(since, rows[-1].began_at)
    calls = sum(row.calls for row in rows if row.ended_at >= since)
    return float(calls * MICROS) / max(MICROS, now - since)


def _quantile(durations: Counter[int], part: float) -> float | None:
    left = part * durations.total()
    for bucket, number in sorted(durations.items()):
        left -= number
        if left <= 0:
            return upper_bound(bucket)
    return None
