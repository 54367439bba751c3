"""Reconcile: after it the store holds every event that Copernica's log files do.

    REST ─▶ files of a day ─┐                                       (REST: Copernica's, SMTPeter's, or both)
    files by hand ──────────┴─▶ wait for calls in flight ─▶ `workers.reconcile.recovery` ─▶ the day's report, kept

A day counts as complete only when all of its files were there, whole, and every line of them is in the store; a
day that was not finished is recorded as incomplete. Once a day, `reconcile_job` does by itself what `ingest
reconcile` does.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from zoneinfo import ZoneInfo

import redis

from ingest import redis_client
from ingest.copernica.events import Event
from ingest.errors import (
    Forbidden,
    Interrupted,
    InvalidToken,
    LogFilesGone,
    NotFound,
    RequestRejected,
    RestError,
    SettingsError,
    Unreachable,
)
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from ingest.stream.announcements import Announcements
from workers.gaps import outages
from workers.reconcile import downloads, history, in_flight
from workers.reconcile.logfile import LogFile, Watch
from workers.reconcile.recovery import Recovery, RecoveryOptions
from workers.reconcile.report import DayCause, DayReport, Totals, days_between
from workers.reconcile.sources import Source, fetched, sources
from workers.store.store import Store
from workers.totals.history import verdicts

#: Days that may be asked for at once; Copernica does not keep log files for longer than some months.
MAX_DAYS = 400
#: What an error says of a day; the first that fits.
CAUSES: Sequence[tuple[type[RestError], DayCause]] = (
    (LogFilesGone, DayCause.GONE),
    (NotFound, DayCause.NOT_THERE),
    (InvalidToken, DayCause.FORBIDDEN),
    (Forbidden, DayCause.FORBIDDEN),
    (RequestRejected, DayCause.REJECTED),
    (Unreachable, DayCause.UNREACHABLE),
)


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """What a person can choose about a reconciliation."""

    #: Also days that are not over; they do not count as complete.
    partial: bool = False
    #: Also kinds that no webhook brings.
    everything: bool = False
    #: Whether to hand recovered events to the handlers.
    handlers: bool = True
    #: Seconds to wait for calls that are still in flight.
    wait: float = 30.0


def days_of(first: date, last: date | None, partial: bool) -> list[date]:
    """The days from one to another.

    Raises:
        SettingsError: there are none, they are too many, or they are not over and may not be partial.
    """
    days = days_between(first, last or first)
    today = datetime.now(UTC).date()
    if not days:
        raise SettingsError(f"{first} is after {last}: name the earlier day first.")
    if len(days) > MAX_DAYS:
        raise SettingsError(f"These are {len(days)} days: name at most {MAX_DAYS}.")
    if days[-1] > today:
        raise SettingsError(f"{days[-1]} has not begun yet (days are in UTC): name an earlier one.")
    if days[-1] == today and not partial:
        raise SettingsError(
            f"{today} is not over (days are in UTC): wait for its end, or take what is there with --partial."
        )
    return days


def reconcile(
    settings: Settings,
    days: Sequence[date],
    options: ReconcileOptions,
    watch: Watch,
    breathe: Callable[[], object] = lambda: None,
    connect: Callable[[Settings], Sequence[Source]] = sources,
) -> Iterator[DayReport]:
    """Reconcile days over REST, and save the report of each.

    Raises:
        SettingsError, InvalidToken: nothing can be fetched with these settings.
        Unavailable: the database cannot be used now, or this machine's disk is full.
    """
    connect(settings)  # report a mistake in its settings before waiting for anything
    with Store.of(settings) as store:
        for day in days:
            report = DayReport(day)
            with history.attempt(store, day) as began:
                with downloads.folder() as folder:
                    try:
                        wanted = connect(settings)
                        fetching = fetched(wanted, day, options.everything, folder, watch, breathe)
                        found = asyncio.run(fetching)
                        report.whole = day < found.today and not found.failures
                        _compare(settings, store, report, found.files, options, watch, breathe, found.logged)
                        _note_failures(report, found.failures)
                    except (InvalidToken, Interrupted):
                        raise
                    except RestError as error:
                        _note_failures(report, [error])
                history.save(store, report, history.API, began)
            _add_totals(store, report)
            outages.note(store, report)
            yield report


def reconcile_files(
    settings: Settings, files: Sequence[LogFile], whole: bool, options: ReconcileOptions, watch: Watch
) -> Iterator[DayReport]:
    """The same with files that are on this machine. `whole` says that they are all there are of their days.

    Raises:
        SettingsError: these are too many days.
        Unavailable: the database cannot be used now, or this machine's disk is full.
    """
    days = len({file.day for file in files})
    if days > MAX_DAYS:
        raise SettingsError(f"These are files of {days} days: give those of at most {MAX_DAYS} at a time.")
    with Store.of(settings) as store:
        for day in sorted({file.day for file in files}):
            report = DayReport(day, whole=whole and day < datetime.now(UTC).date())
            with downloads.folder():
                _compare(settings, store, report, [file for file in files if file.day == day], options, watch)
            if report.total("outside"):
                report.whole = False  # only the names, which anyone can give, say that these are files of the day
            history.save(store, report, history.FILES)
            _add_totals(store, report)
            outages.note(store, report)
            yield report


def _add_totals(store: Store, report: DayReport) -> None:
    """Say what is known of the day's totals, unless that was before something was recovered."""
    verdict = verdicts(store, report.day).get(report.day)
    if verdict is not None and (verdict.agrees or not report.total("recovered")):
        report.totals = Totals(verdict.agrees, verdict.why)


def _note_failures(report: DayReport, failures: Sequence[RestError]) -> None:
    """What kept a service's files from being compared: the day is not complete without them."""
    if failures:
        report.error = " ".join(map(str, failures))
        report.gone = all(isinstance(error, LogFilesGone) for error in failures)
        worst = next((error for error in failures if not isinstance(error, LogFilesGone)), failures[0])
        report.cause = next((cause for kind, cause in CAUSES if isinstance(worst, kind)), None)


def _compare(
    settings: Settings,
    store: Store,
    report: DayReport,
    files: Sequence[LogFile],
    options: ReconcileOptions,
    watch: Watch,
    breathe: Callable[[], object] = lambda: None,
    expected: Collection[str] = (),
) -> None:
    report.notes += [note for file in files for note in file.notes]
    waiting = in_flight.wait(settings, store, options.wait, watch)
    report.in_flight = waiting.calls if waiting else None
    has_handlers = options.handlers and settings.has_handlers
    recovery = RecoveryOptions(
        ZoneInfo(settings.logfile_tz), has_handlers, options.everything, kept_days=settings.kept_days
    )
    Recovery(store, recovery, watch, partial(announce, settings, has_handlers), breathe).day(
        report, files, expected
    )


def announce(settings: Settings, has_handlers: bool, events: Sequence[Event]) -> None:
    """Wake the handlers and announce the events; recovery goes on if Redis is unreachable."""
    # An error of Redis's can live long in a cycle, and with it what the function knows that catches it.
    _announce(settings, has_handlers, [event.delivery_id for event in events])


def _announce(settings: Settings, has_handlers: bool, delivery_ids: Sequence[bytes]) -> None:
    with suppress(redis.RedisError, SettingsError), redis_client.connect(settings.redis) as client:
        Announcements(client).publish(delivery_ids)
        if has_handlers:
            scheduler = JobScheduler(client)
            scheduler.note_handoffs(True)
            scheduler.hand_on()
