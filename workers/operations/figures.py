"""The figures of `ingest status`, which `docs/status.md` describes field by field."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any, Literal

from ingest.stream.exports import LastExport
from ingest.stream.reports import EndpointReport
from workers.operations.warnings import StatusWarning


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """One endpoint process: its name, and what it reported."""

    name: str
    report: EndpointReport

    def as_json(self) -> dict[str, object]:
        """One object with the fields of both."""
        return {"name": self.name, **_shallow(self.report)}


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """One RQ worker."""

    name: str
    queues: tuple[str, ...]
    state: str
    #: The machine that it runs on; None if it does not say.
    host: str | None = None
    #: What it does now, such as `drain` or `handle mail`, and since when (Unix seconds); None while it waits.
    job: str | None = None
    job_began_at: float | None = None


@dataclass(frozen=True, slots=True)
class LostFigures:
    """Calls that were answered 503 since the endpoint processes started: nothing could keep them."""

    calls: int
    #: Unix times of the first and the last of them, in seconds.
    first_at: float
    last_at: float


@dataclass(frozen=True, slots=True)
class PausedFigures:
    """A queue or a handler that is paused by hand."""

    #: With `queue:` or `handler:` before it.
    name: str
    #: Unix time in seconds at which it goes on by itself; None: when it is resumed.
    ends_at: float | None


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """One stream server. What is not known is None."""

    #: Where it is, without how it is spoken to.
    name: str
    #: `takes`, `closed` (`ingest streams drain`), `only-drained` (it is not in INGEST_STREAM_URLS, and has rq's
    #: queues), `foreign` (another database's), `away`, or `left`: endpoints wrote to it, and it is not in
    #: INGEST_STREAM_URLS any more.
    state: str
    has_queues: bool = False
    backlog: int | None = None
    batches: int | None = None
    pending_batches: int | None = None
    oldest_age_seconds: float | None = None
    #: Unix time in seconds at which the last batch was written; None also if none ever was.
    last_call_at: float | None = None
    dead_batches: int | None = None
    memory_bytes: int | None = None
    #: None also where it has no limit.
    memory_limit_bytes: int | None = None
    #: How many endpoint processes write to it, by what they found: `closed` (they do), `open` or `half-open` (it
    #: fails), `full`, `drained`, `foreign`. Empty where there is one server.
    endpoints: Mapping[str, int] = field(default_factory=dict)
    #: Why it does not answer, in the words of the error; or that it is another database's.
    error: str | None = None
    #: Unix time in seconds at which one that is `left` was seen last, and had so many batches.
    seen_at: float | None = None


@dataclass(frozen=True, slots=True)
class RedisFigures:
    """What Redis knows: of several stream servers, those that answer together, and the memory of the queues'."""

    backlog: int
    batches: int
    pending_batches: int
    oldest_age_seconds: float | None
    #: Unix time in seconds at which the last batch was written; None if there never was one.
    last_call_at: float | None
    accepted: int
    doubles: int
    dead_batches: int
    accepted_per_second: float
    drained_per_second: float
    refused: Mapping[str, int]
    #: None if no call was lost.
    lost: LostFigures | None
    #: Whether `rq suspend` keeps workers from taking jobs.
    suspended: bool
    memory_bytes: int
    #: None where Redis has no limit.
    memory_limit_bytes: int | None
    endpoints: tuple[EndpointFigures, ...]
    workers: tuple[WorkerFigures, ...]
    paused: tuple[PausedFigures, ...] = ()
    #: When days were exported last; None if they never were.
    export: LastExport | None = None
    #: The name of the database that what is in it is for; None while nobody has said so.
    for_database: str | None = None
    #: Each stream server by itself; one, unless INGEST_STREAM_URLS names several.
    streams: tuple[StreamFigures, ...] = ()


@dataclass(frozen=True, slots=True)
class HandlerFigures:
    """One handler's events."""

    waiting: int
    #: Those of them that failed before and are tried again.
    retries: int
    #: Unix time in seconds of the next attempt; None without `retries`.
    retry_at: float | None
    failed: int
    #: What its last failure was, in one line; None if nothing that failed is kept.
    last_error: str | None


@dataclass(frozen=True, slots=True)
class ReconciledFigures:
    """The days that were compared with Copernica's log files."""

    complete_through: date | None
    since: date | None
    incomplete: tuple[date, ...]
    gone: tuple[date, ...]
    #: Those of `incomplete` whose log files are complete, while Copernica's totals differ from the store.
    differing: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True)
class DayFigures:
    """One day (UTC): how many of its events came from where, and whether it is complete."""

    day: date
    #: None while that is not known; True once log files, and totals where they could be compared, agree.
    complete: bool | None
    #: The same of each; None where they were not compared, or not to an end.
    log_files: bool | None
    totals: bool | None
    #: What of its totals differs, or why that is not known; None if they agree, or were not compared.
    differs: str | None
    webhook: int
    logfile: int
    rest: int


@dataclass(frozen=True, slots=True)
class GapFigures:
    """Gaps that are not closed: see `ingest gaps`."""

    #: Those that are filled by themselves or by log files, and those that nothing tries any more.
    unfilled: int
    cannot_be_closed: int
    #: Unix time in seconds at which the oldest of the unfilled began; None without any.
    oldest_at: float | None


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What the database knows."""

    #: Whether it has tables: those that a first `ingest db upgrade` makes.
    has_tables: bool
    stored: int
    quarantined: int
    unverified: int
    handlers: Mapping[str, HandlerFigures]
    reconciled: ReconciledFigures | None
    #: The last days of which something is known, today included, the newest first.
    days: tuple[DayFigures, ...] = ()
    gaps: GapFigures = GapFigures(0, 0, None)
    #: What the database is called, in each of its backups too.
    database_name: str | None = None
    #: Unix time in seconds at which two installations were last seen to use it in turns; None if never.
    clashed_at: float | None = None


@dataclass(frozen=True, slots=True)
class SpoolFigures:
    """What waits in the spools of all endpoint processes."""

    events: int
    size_bytes: int
    oldest_age_seconds: float | None
    bad_records: int
    endpoints_open: int


#: What `DiskFigures.what` begins with, where that is a spool; the name of its machine follows.
SPOOL_ON = "the spool on "


@dataclass(frozen=True, slots=True)
class DiskFigures:
    """A disk that calls or events are on."""

    #: What is on it, for people: `the spool on web-1`, `the database`.
    what: str
    free_bytes: int
    size_bytes: int

    @property
    def spool_of(self) -> str:
        """The machine whose spool is on it; empty where it is the database."""
        return self.what.removeprefix(SPOOL_ON) if self.what.startswith(SPOOL_ON) else ""


@dataclass(frozen=True, slots=True)
class StatusFigures:
    """Everything that `ingest status` shows.

    What cannot be reached is None, and a warning says why.
    """

    redis: RedisFigures | None
    store: StoreFigures | None
    spool: SpoolFigures | None
    disks: tuple[DiskFigures, ...]
    warnings: tuple[StatusWarning, ...]
    #: Raised by a release in which a field is renamed, removed or means something else; not by one that adds some.
    schema_version: Literal[2] = 2

    def as_json(self) -> dict[str, object]:
        """What `ingest status --json` prints: the figures of Redis and the database are at its top level."""
        return {
            "schema_version": self.schema_version,
            **_redis_json(self.redis),
            **(_nulls(StoreFigures) if self.store is None else _shallow(self.store)),
            "spool": self.spool,
            "disks": self.disks,
            "warnings": [warning.as_json() for warning in self.warnings],
        }


def _shallow(figures: Any) -> dict[str, object]:
    return {field.name: getattr(figures, field.name) for field in fields(figures)}


def _nulls(kind: type[RedisFigures] | type[StoreFigures]) -> dict[str, object]:
    return {field.name: None for field in fields(kind)}


def _redis_json(figures: RedisFigures | None) -> dict[str, object]:
    if figures is None:
        return _nulls(RedisFigures)
    return _shallow(figures) | {"endpoints": [endpoint.as_json() for endpoint in figures.endpoints]}
