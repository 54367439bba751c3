"""Compare Copernica's totals of days with the store: what `ingest audit-mailings` and the daily job do.

    our day ─▶ which mailings ─▶ their statistics of that day ─▶ what differs and why ─▶ kept, shown

A day is asked for as it is by the clock of the statistics: in the zone of log files, and as far ahead of webhooks
as those were measured to be. Where nothing fits but a day that begins some whole hours later or earlier, that is
the difference of the zones, and it is asked for once more.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from ingest.copernica.api.client import Copernica
from ingest.copernica.api.results import Product
from ingest.errors import Forbidden, InvalidToken, RestError, SettingsError
from ingest.settings import Settings
from ingest.shown import counted
from workers.mailings import names
from workers.reconcile.sources import client
from workers.store.store import Store
from workers.totals import compare, history, ours
from workers.totals.ours import A_DAY, Ours, begin_of
from workers.totals.report import Cause, Circumstances, DayTotals
from workers.totals.theirs import Mailing, Theirs

#: Seconds between two calls of `breathe` while Copernica is asked.
BREATH = 1.0
#: How close to midnight an event may be of another day at Copernica: with clocks that were compared, and without.
NEAR_MIDNIGHT, NEAR_MIDNIGHT_UNMEASURED = timedelta(seconds=10), timedelta(seconds=60)
#: Days that may be asked for at once.
MAX_DAYS = 400

#: Is told about progress: of what, how much is done, and the total if that is known.
Watch = Callable[[str, int, int | None], object]


def days_of(days: Sequence[date]) -> list[date]:
    """The days that were asked for, each once and in order; yesterday if none was.

    Raises:
        SettingsError: they are too many, or have not begun yet.
    """
    today = datetime.now(UTC).date()
    asked = sorted(set(days)) or [today - timedelta(days=1)]
    if len(asked) > MAX_DAYS:
        raise SettingsError(f"These are {len(asked)} days: name at most {MAX_DAYS}.")
    if asked[-1] > today:
        raise SettingsError(f"{asked[-1]} has not begun yet (days are in UTC): name an earlier one.")
    return asked


def audit(
    settings: Settings,
    days: Sequence[date],
    watch: Watch,
    breathe: Callable[[], object] = lambda: None,
    connect: Callable[[Settings], Copernica] = client,
) -> Iterator[DayTotals]:
    """Compare the totals of days, and keep what was found about each.

    Raises:
        SettingsError, InvalidToken, Forbidden: nothing can be asked with these settings.
        Unavailable: the database cannot be used now.
    """
    connect(settings)  # report a mistake in its settings before waiting for anything
    with Store.of(settings) as store:
        for day in days:
            found = DayTotals(day)
            try:
                _day(settings, store, found, watch, breathe, connect)
            except (InvalidToken, Forbidden):
                raise
            except RestError as error:
                found.error = str(error)
            history.save(store, found)
            yield found


def _day(
    settings: Settings,
    store: Store,
    found: DayTotals,
    watch: Watch,
    breathe: Callable[[], object],
    connect: Callable[[Settings], Copernica],
) -> None:
    known = history.circumstances(store, found.day)
    edge = NEAR_MIDNIGHT if known.offset is not None else NEAR_MIDNIGHT_UNMEASURED
    watch(f"counting {found.day}", 0, None)
    here = ours.read(store, found.day, edge, breathe)
    watch(f"counting {found.day}", 1, 1)
    found.undecided = _undecided(settings, found.day, known)
    found.offset = known.offset or 0

    def ask(offset: int) -> bool:
        asking = _asked(connect(settings), found, offset, here, ZoneInfo(settings.logfile_tz), watch, breathe)
        theirs = asyncio.run(asking)
        for product, mailings in theirs.listed.items():
            names.keep(store, product, mailings)
        lines = compare.lines_of(here, theirs)
        compare.find_causes(lines, here, known)
        found.requests += theirs.requests
        if offset != found.offset and (theirs.problem or any(line.agrees is False for line in lines)):
            return False  # it did not only seem to fit
        found.offset, found.mailings, found.lines = offset, len(theirs.totals), lines
        found.error, found.notes = theirs.problem, list(theirs.unlisted.values())
        return True

    ask(found.offset)
    if not found.differing:
        return
    shifted = {hours: ours.shifted(store, found.day, hours) for hours in compare.HOURS}
    hours = compare.hours_apart(found.lines, shifted, here.unnamed)
    if hours and ask(found.offset + hours * 3600):
        ahead = "ahead of" if hours < 0 else "behind"
        found.notes.append(
            f"The clock of Copernica's statistics is {counted(abs(hours), 'hour')} {ahead} that of webhooks: if "
            "that is a difference of time zones, set INGEST_LOGFILE_TZ."
        )


def _undecided(settings: Settings, day: date, known: Circumstances) -> Cause | None:
    today = datetime.now(UTC).date()
    if day >= today:
        return Cause.DAY_NOT_OVER
    kept = settings.shortest_retention
    if kept and day <= today - timedelta(days=kept):
        return Cause.RETENTION
    return Cause.LOG_FILES if Cause.LOG_FILES in known.suspicions else None


async def _asked(
    connected: Copernica,
    found: DayTotals,
    offset: int,
    here: Ours,
    zone: ZoneInfo,
    watch: Watch,
    breathe: Callable[[], object],
) -> Theirs:
    """What Copernica counts; `breathe` is called beside it."""
    async with connected as copernica:
        begin = begin_of(found.day) - timedelta(seconds=offset)
        first, last = (moment.astimezone(zone).replace(tzinfo=None) for moment in (begin, begin + A_DAY))
        theirs = Theirs(copernica, first, last)
        asking = asyncio.create_task(_ask(theirs, found.day, here))
        label = f"asking for the totals of {found.day}"
        try:
            while not asking.done():
                await asyncio.wait([asking], timeout=BREATH)
                watch(label, theirs.requests, None)
                await asyncio.to_thread(breathe)
            watch(label, theirs.requests, theirs.requests)
            await asking
            return theirs
        finally:
            asking.cancel()
            await asyncio.wait([asking])


async def _ask(theirs: Theirs, day: date, here: Ours) -> None:
    """Ask about each mailing that was sent just then, and each that our events name.

    Events do not say of which product the mailing is that they name. What is not known otherwise is taken for one
    of Marketing Suite first; the other is asked where that does not know it, or counts less than there is.
    """
    await theirs.list_sent(day)
    products: dict[int, set[Product]] = {}
    for product, mailing in theirs.sent:
        products.setdefault(mailing, set()).add(product)
    for mailing, of in here.products.items():
        products.setdefault(mailing, set()).update(map(Product, of))
    wanted: set[Mailing] = set(theirs.sent)
    for mailing in here.mailings:
        wanted |= {(product, mailing) for product in products.get(mailing) or {Product.MARKETING_SUITE}}
    await theirs.ask(wanted)
    unknown = {mailing for _, mailing in theirs.unknown} & here.mailings
    await theirs.ask((product, mailing) for product in Product for mailing in unknown)
    if len({product for product, _ in theirs.totals}) > 1:  # else the account has but one of them
        more = {line.mailing for line in compare.lines_of(here, theirs) if (line.difference or 0) < 0}
        await theirs.ask((product, mailing) for product in Product for mailing in more)
