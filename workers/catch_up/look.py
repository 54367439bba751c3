"""One look at a period: what Copernica has of it now, and what of that the store lacked.

Results are requested by their own clock, whose zone is not documented. It is taken for that of the log files
(`INGEST_LOGFILE_TZ`), and what is left between it and the webhooks' clock is measured on events that both tell
of, in the period and for `MARGIN` before and after it. If it turns out that another period was requested than was
meant, the one that was is requested next.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import partial
from itertools import count
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from ingest.copernica.api.results import LISTS, Product, results
from ingest.copernica.events import Event, EventType
from ingest.errors import Forbidden, RestError
from ingest.settings import Settings
from ingest.shown import counted
from workers.catch_up.asked import Asked
from workers.catch_up.clocks import wrong_by
from workers.catch_up.fetching import NAMES, Fetched, Period, fetch, is_refusal, shown
from workers.catch_up.messages import Messages
from workers.catch_up.recipients import Recipients
from workers.catch_up.report import Answered, Look
from workers.catch_up.shelf import Shelf
from workers.catch_up.translation import told
from workers.reconcile import downloads
from workers.reconcile.logfile import Watch
from workers.reconcile.recovery import Recovery, RecoveryOptions
from workers.reconcile.report import KindReport
from workers.reconcile.results import Results
from workers.reconcile.run import announce
from workers.store.filters import Filter
from workers.store.late_calls import ZONE_STEP
from workers.store.store import Store

T = TypeVar("T")

#: Seconds before and after a period of which results are fetched, too: to measure clocks on.
MARGIN = 600
#: Seconds of a longer period that are looked at at once: of 200 events per second, a million.
WINDOW = 3600
#: Seconds before now of which results are not expected yet.
LATELY = 15
#: Seconds by which the clocks may differ from what was assumed before a period is requested once more.
TOLERANCE = MARGIN // 2
#: Seconds before and after a period that are asked for once more to see whether results came meanwhile: clocks are
#: known by then, so this is far less than what they were measured on. Half of it they may differ by.
EDGE = 120
#: Seconds at both ends of a period that was requested of which it is not sure that all results are there.
SHAKY = 2
#: Hours by which the results' clock may be behind that of the zone: those that zones can differ by.
BEHIND = range(1, 15)
HOUR = 3600
#: Portions of recovered events after which what is left of them is collected: cycles keep it in memory, and
#: Python rarely looks for these during a comparison.
PORTIONS_KEPT = 8
#: Seconds between two calls of `breathe` while something is fetched.
BREATH = 1.0


class Context(NamedTuple):
    """What all looks of a run share."""

    settings: Settings
    store: Store
    watch: Watch
    #: Called often; may raise to stop the run.
    breathe: Callable[[], object]
    #: Whether only to find out what is missing.
    dry_run: bool = False
    #: Whether to hand what was missing to the handlers.
    handlers: bool = True
    connect: Callable[[Settings], Asked] | None = None


def windows(period: Period) -> Iterator[Period]:
    """A period in parts that are looked at one after the other."""
    for since in range(period.since, max(period.until, period.since + 1), WINDOW):
        yield Period(since, min(since + WINDOW, period.until))


def look_at(context: Context, period: Period, before: Look | None = None) -> Look:
    """Fetch what Copernica has of a period, and insert what is missing.

    If it has the same of it as in a look `before`, that is not compared again: it is in the store by now. For
    that, only the period itself is requested, unless there were events around it that had no results yet.

    Raises:
        RestError: not all of it could be fetched; nothing of the part in which that happened was inserted.
        Unavailable: the database or the disk cannot be used now.
    """
    total = Look()
    if before is not None and before.answered is not None and _is_told_by_itself(before, period):
        same, total.calls = _again(context, before, before.answered)
        if same is not None:
            return same
    for window in windows(period):
        now = int(time.time())
        around = Period(window.since - MARGIN, max(window.until, min(window.until + MARGIN, now - LATELY)))
        edged = Period(window.since - EDGE, min(window.until + EDGE, around.until))
        total.add(_by_its_own_clock(context, around, edged))
    return total


def _is_told_by_itself(before: Look, period: Period) -> bool:
    """Whether the results of a period, without those around it, tell if anything is new since the look before."""
    clocks_agree = before.pairs > 0 and abs(before.offset) <= EDGE // 2
    return len(list(windows(period))) == 1 and not before.only_in_store and clocks_agree


def _again(context: Context, before: Look, answered: Answered) -> tuple[Look | None, int]:
    """What a look comes to if Copernica has the same results as before, else None; and how often it was asked."""
    with downloads.folder() as folder, Shelf(folder) as shelf:

        async def asked(api: Asked) -> tuple[Fetched, int]:
            return await fetch(api, shelf, answered.period, answered.zone, context.watch), api.calls

        fetched, calls = _asked(context, asked)
        if (
            _fingerprint(shelf, answered.period, answered.zone) != answered.results
            or fetched.unreadable
            or fetched.astray
        ):
            return None, calls
    answered = answered._replace(at=time.monotonic())
    known = before.in_store + before.recovered
    return replace(before, in_store=known, recovered=0, calls=calls, answered=answered), calls


def _fingerprint(shelf: Shelf, period: Period, zone: tzinfo) -> bytes:
    """Which results of a period there are, without those at its ends, which come or not as pages are divided."""
    begin, end = shown(Period(period.since + SHAKY, period.until - SHAKY), zone)
    return shelf.fingerprint(str(begin), str(end))


def _by_its_own_clock(context: Context, period: Period, edged: Period) -> Look:
    """One look and, if the results' clock proves to be of another zone than was thought, a second one."""
    zone: tzinfo = ZoneInfo(context.settings.logfile_tz)
    look = _look(context, period, edged, zone)
    other = _zone_behind(zone, period, look.offset)
    if not look.fetched and _happened(context.store, period):
        other = _asked(context, partial(_zone_of_nothing, zone, period))
        look.elsewhere = other is None
    if other is not None:
        calls, look = look.calls, _look(context, period, edged, other)
        look.calls += calls
        look.elsewhere = look.elsewhere or _zone_behind(other, period, look.offset) is not None
        ahead = _ahead(other, zone, period)
        look.notes.append(f"The results' clock is {ahead} that of INGEST_LOGFILE_TZ ({zone}).")
    return look


def _zone_behind(zone: tzinfo, period: Period, seconds: int) -> tzinfo | None:
    """The zone whose clock is behind that of another by so many seconds, about; None if that is the same zone."""
    quarters = round(seconds / ZONE_STEP)
    if abs(seconds) <= TOLERANCE or not quarters:
        return None
    offset = datetime.fromtimestamp(period.since, zone).utcoffset() or timedelta()
    return timezone(offset - timedelta(seconds=quarters * ZONE_STEP))


def _ahead(one: tzinfo, other: tzinfo, period: Period) -> str:
    first, second = (
        datetime.fromtimestamp(period.since, zone).utcoffset() or timedelta() for zone in (one, other)
    )
    hours = (first - second) / timedelta(hours=1)
    return f"{abs(hours):g} h {'ahead of' if hours > 0 else 'behind'}"


def _happened(store: Store, period: Period) -> int:
    """How many events there are of a period, of kinds that have results."""
    since, until = (datetime.fromtimestamp(second, UTC) for second in period)
    return store.count(Filter(types=tuple(LISTS), since=since, until=until))


def _look(context: Context, period: Period, edged: Period, zone: tzinfo) -> Look:
    with downloads.folder() as folder, Shelf(folder) as shelf:
        look = _asked(context, lambda api: _gathered(context, api, shelf, period, edged, zone))
        _compare(context, shelf, look, period, zone)
    return look


def _asked(context: Context, ask: "Callable[[Asked], Awaitable[T]]") -> T:
    """What comes of questions; `breathe` is called beside them."""

    async def asked() -> T:
        connect = context.connect or Asked.with_settings
        async with connect(context.settings) as api:
            asking = asyncio.ensure_future(ask(api))
            try:
                while not asking.done():
                    await asyncio.wait([asking], timeout=BREATH)
                    await asyncio.to_thread(context.breathe)
                return asking.result()
            finally:
                asking.cancel()
                await asyncio.wait([asking])

    return asyncio.run(asked())


async def _gathered(
    context: Context, api: Asked, shelf: Shelf, period: Period, edged: Period, zone: tzinfo
) -> Look:
    """Everything that Copernica is asked for, put on the shelf; of the `edged` period, what is there is noted."""
    fetched = await fetch(api, shelf, period, zone, context.watch)
    answered = Answered(edged, zone, await asyncio.to_thread(_fingerprint, shelf, edged, zone), time.monotonic())
    messages = Messages(api, context.store, shelf, context.watch, keeps=not context.dry_run)
    await messages.find()
    recipients = Recipients(context.store, shelf, context.watch)
    # Beside the event loop, so that it goes on breathing: an hour can have a million events.
    await asyncio.to_thread(recipients.from_events, period)
    notes = await _from_profiles(api, recipients) if context.settings.catch_up_profiles == "on" else []
    look = Look(
        fetched.results, unreadable=fetched.unreadable, absent=fetched.absent, calls=api.calls, answered=answered
    )
    look.wrong_by = await asyncio.to_thread(wrong_by, context.settings, api.clock_offset)
    look.notes = [*notes, *(f"The account has no {NAMES[product]}." for product in fetched.absent)]
    if fetched.astray:
        look.fetched += fetched.astray
        look.unmatched += fetched.astray
        look.notes.append(f"{counted(fetched.astray, 'result')} were of another time than was asked for.")
    return look


async def _from_profiles(api: Asked, recipients: Recipients) -> list[str]:
    """Look recipients up; returns notes. A gap does not stay open for what log files bring anyway."""
    try:
        await recipients.from_profiles(api)
    except Forbidden:
        return [
            "COPERNICA_TOKEN may not read profiles, or the fields of databases: recipients that results do not "
            "tell are missing until the log files of the day are there."
        ]
    return []


def _compare(context: Context, shelf: Shelf, look: Look, period: Period, zone: tzinfo) -> None:
    """Compare what is on the shelf with the store, and insert what is missing; nothing if the clock is another."""
    settings = context.settings
    hand_on = context.handlers and settings.has_handlers
    options = RecoveryOptions(zone, hand_on, dry_run=True, kept_days=settings.kept_days)
    seconds = range(period.since, period.until + 1)
    # The largest first: kinds with too few events use the clocks that were measured on others.
    kinds = [*shelf.counts(), *LISTS]
    trial = Recovery(context.store, options, context.watch, breathe=context.breathe)
    for kind in dict.fromkeys(kinds):
        with _lines(shelf, kind, zone) as lines:
            report = trial.results(lines, seconds)
        if report.in_store or report.only_in_store:
            look.offset, look.pairs = report.offset, report.pairs
            look.elsewhere = bool(len(lines)) and not report.in_store
            if look.elsewhere or _zone_behind(zone, period, look.offset) is not None:
                return
            break
    portions = count(1)

    def tell(events: Sequence[Event]) -> None:
        announce(settings, hand_on, events)
        if not next(portions) % PORTIONS_KEPT:
            gc.collect()

    options = replace(options, dry_run=context.dry_run)
    recovery = Recovery(context.store, options, context.watch, tell, context.breathe)
    for kind in dict.fromkeys(kinds):
        with _lines(shelf, kind, zone) as lines:
            _note(look, recovery.results(lines, seconds))
    look.unresolved = shelf.unresolved()


def _lines(shelf: Shelf, kind: EventType, zone: tzinfo) -> Results:
    """The results of a kind whose messages are known."""
    lines = Results(kind, zone)
    for some in shelf.found(kind):
        lines.add(told(kind, one) for one in some if one.message)
    return lines


def _note(look: Look, report: KindReport) -> None:
    look.in_store += report.in_store
    look.recovered += report.recovered
    look.erased += report.erased
    look.unmatched += report.unmatched
    look.only_in_store += report.only_in_store
    if report.pairs > look.pairs:
        look.offset, look.pairs = report.offset, report.pairs
    look.notes += [f"{report.kind}: {note}" for note in report.notes]


async def _zone_of_nothing(zone: tzinfo, period: Period, api: Asked) -> tzinfo | None:
    """The zone by whose clock a period is over, if by that of the one that was thought of it is still to come."""
    for hours in BEHIND:
        behind = _zone_behind(zone, period, hours * HOUR)
        if behind is None:
            continue
        begin, end = shown(period, behind)
        for kind in (EventType.DELIVERY, EventType.OPEN, EventType.CLICK):
            for product in Product:
                if await _any(api, product, kind, begin, end):
                    return behind
    return None


async def _any(api: Asked, product: Product, kind: EventType, begin: datetime, end: datetime) -> bool:
    try:
        async for page in results(api, product, kind, begin, end):
            return bool(page)
    except RestError as error:
        if not is_refusal(error):
            raise
    return False
