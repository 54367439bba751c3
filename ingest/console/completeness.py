"""What is begun from the pages about completeness: each as a task, by the functions of the command line."""

from collections.abc import Callable, Mapping
from datetime import date, datetime

from aiohttp import web
from redis import Redis

from ingest.console.marking import _
from ingest.console.reading import reading_of
from ingest.console.tasks import Report, Task, Work, recent
from ingest.errors import Interrupted, RequestRejected, Unavailable
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from workers.catch_up.by_hand import gaps_or_period
from workers.reconcile.run import ReconcileOptions, reconcile
from workers.totals.audit import audit

#: Sentences by what the address of a page says that somebody was led to.
SAID = {
    "no-token": _("This needs a token for Copernica's API: set COPERNICA_TOKEN, and start the processes again."),
    "worker": _("A worker compares log files just now: wait until it has ended, and try again."),
    "period": _("That is no period: it has to end after it begins, and not in the future."),
    "long": _("That period is too long: name at most seven days. Whole days are taken from their log files."),
}
#: Kinds of tasks that are begun here.
KINDS = frozenset({"reconcile", "audit-mailings", "catch-up"})
#: Seconds that a page waits for Redis to say whether a worker is at it.
PATIENCE = 2.0

Watch = Callable[[str, int, int | None], None]


def under_way(request: web.Request) -> list[Task]:
    """What somebody has begun of this, and has not ended."""
    return [task for task in recent(request.app) if task.ended_at is None and task.kind in KINDS]


async def worker_reconciles(request: web.Request) -> bool:
    """Whether a worker compares log files now; not, as far as anybody knows, while Redis is away."""

    def ask(client: Redis) -> bool:
        return JobScheduler(client).reconciles()

    try:
        return await reading_of(request).redis(ask, PATIENCE)
    except Unavailable:
        return False


def reconciling(settings: Settings, day: date, partial: bool, everything: bool, handlers: bool) -> Work:
    """What `ingest reconcile` does with one day."""

    def work(report: Report, stopped: Callable[[], bool]) -> Mapping[str, int]:
        watch, breathe = _watched(report, stopped)
        options = ReconcileOptions(partial, everything, handlers)
        try:
            (found,) = reconcile(settings, [day], options, watch, breathe)
        except Interrupted:
            if not stopped():
                raise
            return {}
        if not found.kinds and found.why:
            raise RequestRejected(found.why)
        counts = {_("events were missing, and are in the store now"): found.total("recovered")}
        if found.unmatched:
            counts[_("lines were neither found nor recovered")] = found.unmatched
        return counts

    return work


def comparing_totals(settings: Settings, day: date) -> Work:
    """What `ingest audit-mailings` does with one day."""

    def work(report: Report, stopped: Callable[[], bool]) -> Mapping[str, int]:
        watch, breathe = _watched(report, stopped)
        try:
            (found,) = audit(settings, [day], watch, breathe)
        except Interrupted:
            if not stopped():
                raise
            return {}
        if found.error is not None:
            raise RequestRejected(found.error)
        return {_("totals differ, and nothing accounts for that"): len(found.differing)}

    return work


def catching_up(
    settings: Settings, period: tuple[datetime, datetime] | None, dry_run: bool, handlers: bool
) -> Work:
    """What `ingest catch-up` does: with a period, or with the gaps that are due."""

    def work(report: Report, stopped: Callable[[], bool]) -> Mapping[str, int]:
        watch, breathe = _watched(report, stopped)
        results = recovered = 0
        why = ""
        try:
            for outcome in gaps_or_period(settings, period, dry_run, handlers, watch, breathe):
                results += outcome.look.fetched
                recovered += outcome.look.recovered
                why = why or outcome.open
        except Interrupted:
            if not stopped():
                raise
        if why and not results:
            raise RequestRejected(why)
        if dry_run:
            return {_("results were compared"): results, _("events are missing; nothing was stored"): recovered}
        return {_("events were missing, and are in the store now"): recovered}

    return work


def _watched(report: Report, stopped: Callable[[], bool]) -> tuple[Watch, Callable[[], None]]:
    """What is told of progress, and what is called in between; either ends the work when it is asked to."""

    def breathe() -> None:
        if stopped():
            raise Interrupted("Somebody stopped it.")

    def watch(what: str, done: int, total: int | None) -> None:
        breathe()
        report(done, total, what)

    return watch, breathe
