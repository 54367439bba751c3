"""Finds the gaps: periods in which no endpoint surely took calls, and those in which calls were lost.

What is found replaces what was found before, as long as nobody has begun to fill it: a process that comes back
may say that it has taken calls all the while.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from ingest.copernica.events import MICROS
from ingest.stream.coverage import COVERED, STOPPED, Statement
from workers.gaps.coverage import BASE, Covered
from workers.gaps.gap import FOLLOWING, NEAR, Cause, Cut, State
from workers.gaps.intervals import Interval, between, fewest, without

#: µs without an endpoint that are no gap: the moment in which one endpoint takes the port over from another.
LEAST = MICROS
#: µs without a word after which the last endpoint counts as gone, unless it said that it stopped: five rounds of
#: maintenance.
SILENT = 15 * MICROS
#: Gaps without an endpoint that are told apart in an hour; of more, those become one that are nearest to each
#: other. An endpoint that dies at every start makes one every few seconds.
MOST = 10
_HOUR = 3600 * MICROS
#: The end of what goes on.
_NEVER = 1 << 62


def absences(rows: Sequence[Covered], known: Sequence[Cut], now: int) -> list[Cut]:
    """The gaps without an endpoint as they are now; `known` are the rows of that cause.

    Only those are changed or left out that nobody has begun to fill.
    """
    known = [row for row in known if row.cause is Cause.NO_ENDPOINT]
    fixed = [row for row in known if row.state not in FOLLOWING]
    if not rows:
        return fixed
    found = without(_uncovered(rows, known, now), [(row.since, _end(row.until)) for row in fixed])
    old = [row for row in known if row.state in FOLLOWING]
    return [*fixed, *(_cut(one, old, rows, now) for one in found if one[1] - one[0] >= LEAST)]


def _uncovered(rows: Sequence[Covered], known: Sequence[Cut], now: int) -> list[Interval]:
    base = [row.interval for row in rows if row.endpoint == BASE]
    covered = [row.interval for row in rows if row.endpoint != BASE]
    covered += without(base, [(row.since, _end(row.until)) for row in known])
    if not covered:
        return []
    last = max(through for _, through in covered)
    if now - last > (LEAST if _has_stopped(rows, last) else SILENT):
        covered.append((_NEVER, _NEVER + 1))
    hours = groupby(between(covered), lambda one: one[0] // _HOUR)
    return [gap for _, gaps in hours for gap in fewest(gaps, MOST)]


def _has_stopped(rows: Sequence[Covered], last: int) -> bool:
    return any(row.through == last and row.ended == STOPPED for row in rows)


def _end(until: int | None) -> int:
    return _NEVER if until is None else until


def _cut(found: Interval, old: Sequence[Cut], rows: Sequence[Covered], now: int) -> Cut:
    """A gap as a row, with what is known of the attempts to fill an earlier form of it."""
    since, until = found[0], None if found[1] >= _NEVER else found[1]
    ended = next((row.ended or "lost" for row in rows if row.through == since and row.endpoint != BASE), None)
    before = next((row for row in old if row.since < found[1] and since < _end(row.until)), None)
    details: dict[str, Any] = dict(before.details) if before is not None else {}
    if before is not None and since < before.since:
        details.pop("filled_through", None)  # it says nothing of what is before it
    if ended is not None:
        details["ended"] = ended
    state = State.OPEN if until is None else State.ENDED
    changed_at = before.changed_at if before is not None and before.state is state else now
    return Cut(since, Cause.NO_ENDPOINT, until, state, changed_at, details)


def losses(statements: Iterable[Statement], known: Sequence[Cut], now: int) -> list[Cut]:
    """The rows of calls that were lost, after processes have said this; what is near belongs to one row.

    Only those are changed that nobody has begun to fill.
    """
    causes = {Cause.ANSWERED_503, Cause.SPOOL_DAMAGED}
    rows = [row for row in known if row.cause in causes]
    for one in sorted(statements, key=lambda one: one.since):
        if one.kind == COVERED or one.kind not in {str(cause) for cause in causes}:
            continue
        rows = _with_loss(rows, one, Cause(one.kind), now)
    return rows


def _with_loss(rows: list[Cut], said: Statement, cause: Cause, now: int) -> list[Cut]:
    since, until = min(said.since, now), max(min(said.through, now), min(said.since, now) + 1)
    same = [row for row in rows if row.cause is cause]
    # What is being filled, or was, keeps its bounds; what has come since is a row of its own.
    fixed = [row for row in same if row.state not in FOLLOWING and said.name in _names(row)]
    since = max([since, *(row.until or since for row in fixed)])
    if until <= since:
        return rows
    near = [
        row
        for row in same
        if row.state in FOLLOWING and row.since <= until + NEAR * MICROS and since <= _reach(row)
    ]
    calls = {name: number for row in near for name, number in _names(row).items()}
    calls[said.name] = said.calls - sum(_names(row).get(said.name, 0) for row in fixed)
    first = min([since, *(row.since for row in near)])
    last = max([until, *(row.until or until for row in near)])
    details = {**(near[0].details if near else {}), "calls": _few(calls)}
    if len(near) > 1 or (near and first < near[0].since):
        details.pop("filled_through", None)  # of one of them, or of what is behind the beginning
    changed = Cut(first, cause, last, State.ENDED, near[0].changed_at if near else now, details)
    others = [row for row in rows if row not in near]
    while any(row.key == changed.key for row in others):  # one that is being filled begins in the same microsecond
        changed = replace(changed, since=changed.since + 1)
    return [*others, changed]


def _reach(row: Cut) -> int:
    return (row.until or row.since) + NEAR * MICROS


def _names(row: Cut) -> dict[str, int]:
    calls = row.details.get("calls")
    return dict(calls) if isinstance(calls, dict) else {}


#: Periods of single processes whose lost calls are counted in one row; of more, those with the most calls.
MOST_NAMES = 200


def _few(calls: dict[str, int]) -> dict[str, int]:
    most = sorted(calls.items(), key=lambda one: (-one[1], one[0]))[:MOST_NAMES]
    return dict(sorted(most))
