"""What may be wrong: each kind of warning has a code that stays, a level, and what to do about it.

`ingest status` shows the sentences, alerts and metrics carry the codes, and `docs/runbook.md` has a section for
each code. A release may add codes; one that is there keeps its meaning.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Self


class Level(StrEnum):
    """How bad it is."""

    #: Something costs, or will cost, events or money if nobody looks: today will do.
    WARNING = "warning"
    #: Calls are lost, not stored or not handled, or will soon be: somebody should look now.
    ALARM = "alarm"


class ExitCode(IntEnum):
    """What `ingest status` ends with; monitoring systems such as Nagios read it."""

    WELL = 0
    WARNING = 1
    ALARM = 2


class Code(StrEnum):
    """The kinds of warnings. Each has its level, and what to do in one sentence."""

    level: Level
    remedy: str

    def __new__(cls, value: str, level: Level, remedy: str) -> Self:
        """A member is its code; the rest hangs on it."""
        code = str.__new__(cls, value)
        code._value_ = value
        code.level = level
        code.remedy = remedy
        return code

    # --- what cannot be reached ---

    #: Redis does not answer, or not to us.
    REDIS_UNREACHABLE = (
        "redis-unreachable",
        Level.ALARM,
        "See that Redis runs and REDIS_URL is right (`ingest check`); calls are in the spool until then.",
    )
    #: The database does not answer, or its tables belong to another release.
    DATABASE_UNREACHABLE = (
        "database-unreachable",
        Level.ALARM,
        "See that the database runs and DATABASE_URL is right (`ingest check`); calls wait in Redis until then.",
    )
    #: The spool's folder on this machine cannot be read.
    SPOOL_UNREADABLE = (
        "spool-unreadable",
        Level.ALARM,
        "Let this user read INGEST_SPOOL_DIR: calls that were acknowledged may lie there.",
    )

    # --- what does not belong together ---

    #: Redis holds what is for another database.
    OTHER_DATABASE = (
        "other-database",
        Level.ALARM,
        "Set REDIS_URL or DATABASE_URL right; if this database takes the other's place, `ingest db adopt`.",
    )
    #: Two installations use one database.
    TWO_INSTALLATIONS = (
        "two-installations",
        Level.ALARM,
        "Stop one of the two, or give each a database of its own: `ingest status` of each shows its workers.",
    )

    # --- receiving ---

    #: Nobody takes Copernica's calls.
    NO_ENDPOINT = (
        "no-endpoint",
        Level.ALARM,
        "Start `ingest serve`, and look in its log for why it ended; `ingest gaps` shows what was missed.",
    )
    #: Calls were answered 503 just now: they are lost until the log files bring them.
    CALLS_LOST = (
        "calls-lost",
        Level.ALARM,
        "Give Redis and the spool room, or start more endpoint processes; `ingest gaps` shows what was recovered.",
    )
    #: No call for longer than is usual for this hour of the week.
    SILENCE = (
        "silence",
        Level.ALARM,
        "Send a call to your public URL, and look in Copernica's dashboard whether its webhooks are active.",
    )
    #: Many more calls than usual are refused.
    REFUSALS_RISING = (
        "refusals-rising",
        Level.WARNING,
        "See the reasons in `ingest status`: a wrong account, host or clock refuses genuine calls.",
    )
    #: Anyone can add events.
    SIGNATURES_OFF = (
        "signatures-off",
        Level.WARNING,
        "Set INGEST_VERIFY=on and INGEST_ACCOUNTS for the endpoint, and start it again.",
    )
    #: Endpoint processes write to the spool, since Redis does not answer them.
    SPOOL_OPEN = (
        "spool-open",
        Level.ALARM,
        "See that Redis runs and has room, before the spool's disk is full.",
    )
    #: Calls lie in the spool and are sent on when Redis takes them.
    SPOOL_WAITING = (
        "spool-waiting",
        Level.WARNING,
        "Wait while the number falls; else see that an endpoint runs which uses this folder.",
    )
    #: Stretches of the spool could not be read, and were put aside.
    SPOOL_DAMAGED = (
        "spool-damaged",
        Level.WARNING,
        "Look at the disk, `ingest reconcile` the day, then delete the *.bad files.",
    )
    #: The disk of the spool or of the database has little room left.
    DISK_NEARLY_FULL = (
        "disk-nearly-full",
        Level.ALARM,
        "Make room on the disk, or set INGEST_RETENTION_DAYS.",
    )

    # --- between receiving and storing ---

    #: Redis uses nearly all the memory that it may use.
    REDIS_NEARLY_FULL = (
        "redis-nearly-full",
        Level.WARNING,
        "See that workers drain the backlog, or give Redis more memory.",
    )
    #: The oldest call waits longer than it should.
    BACKLOG_OLD = (
        "backlog-old",
        Level.ALARM,
        "Start more workers on the queue `events`, and look in their log whether the database is slow or away.",
    )
    #: One of several stream servers does not answer.
    STREAM_UNREACHABLE = (
        "stream-unreachable",
        Level.ALARM,
        "See that this server runs (`ingest check`); others take calls, and what it has is stored later.",
    )
    #: Endpoints wrote to a server that is named no more.
    STREAM_LEFT = (
        "stream-left",
        Level.ALARM,
        "Name it again until `ingest streams drain` is done with it; if it is gone, `ingest streams forget`.",
    )
    #: Nobody stores what comes in.
    NO_WORKER = (
        "no-worker",
        Level.ALARM,
        "Start `ingest worker --queue events`, and look in its log for why it ended.",
    )
    #: Nobody calls the handlers.
    NO_HANDLERS_WORKER = (
        "no-handlers-worker",
        Level.ALARM,
        "Start `ingest worker --queue handlers`, and look in its log for why it ended.",
    )
    #: Workers were told to take no jobs.
    WORKERS_SUSPENDED = (
        "workers-suspended",
        Level.ALARM,
        "Let them go on with `ingest resume`, once what they were suspended for is done.",
    )
    #: A queue or a handler was paused by hand.
    PAUSED = (
        "paused",
        Level.WARNING,
        "Let it go on with `ingest resume`, once what it was paused for is done.",
    )
    #: Batches that could not be unpacked.
    DEAD_BATCHES = (
        "dead-batches",
        Level.WARNING,
        "See what damaged Redis, and `ingest reconcile` the day on which they came in.",
    )

    # --- the store ---

    #: The database has no tables yet.
    NO_TABLES = (
        "no-tables",
        Level.WARNING,
        "Make them with `ingest db upgrade`; calls wait in Redis until then.",
    )
    #: Calls that could not be read or stored.
    QUARANTINED = (
        "quarantined",
        Level.WARNING,
        "Read the reasons with `ingest failed list --handler store`; retry or drop them.",
    )
    #: Calls whose signer's key could not be looked up yet.
    UNVERIFIED = (
        "unverified",
        Level.WARNING,
        "See that this machine's DNS answers (`ingest check`); they are verified by themselves then.",
    )
    #: Days that may lack events, and are tried again.
    DAYS_INCOMPLETE = (
        "days-incomplete",
        Level.WARNING,
        "Run `ingest reconcile`, which says what is missing.",
    )
    #: Days whose log files are gone.
    DAYS_GONE = (
        "days-gone",
        Level.WARNING,
        "If you have their log files, `ingest import` them; else nothing can be done.",
    )

    #: Days whose log files are complete, while Copernica counts more, or less, than is in the store.
    TOTALS_DIFFER = (
        "totals-differ",
        Level.WARNING,
        "Run `ingest audit-mailings` for the day, which says where they differ and what is likely behind it.",
    )

    #: Periods in which calls may be missing have not been filled a while after they ended.
    GAPS_UNFILLED = (
        "gaps-unfilled",
        Level.WARNING,
        "See `ingest gaps`; with COPERNICA_TOKEN they are filled by themselves, else by `ingest import`.",
    )
    #: Nothing tries to fill them any more.
    GAPS_LEFT = (
        "gaps-left",
        Level.WARNING,
        "See `ingest gaps`; if you have the log files of these days, `ingest import` them.",
    )

    #: The daily export does not come to its end.
    EXPORT_BEHIND = (
        "export-behind",
        Level.WARNING,
        "See what `ingest check` says of `export`; `ingest export` does what is left.",
    )

    # --- handlers ---

    #: Events that handlers did not take after their last attempt.
    DEAD_LETTERS = (
        "dead-letters",
        Level.WARNING,
        "Read the errors with `ingest failed list`; mend the handler, then `ingest failed retry`.",
    )
    #: More and more of them.
    DEAD_LETTERS_RISING = (
        "dead-letters-rising",
        Level.ALARM,
        "Read the newest errors with `ingest failed list --since 1h`: a handler or its target fails now.",
    )


#: What could not be looked at: the figures of it are unknown.
UNREACHABLE = frozenset({Code.REDIS_UNREACHABLE, Code.DATABASE_UNREACHABLE, Code.SPOOL_UNREADABLE})


@dataclass(frozen=True, slots=True)
class StatusWarning:
    """Something that an operator should know; `text` is one sentence with the figures of the moment."""

    code: Code
    text: str

    @property
    def level(self) -> Level:
        """How bad it is."""
        return self.code.level

    def as_json(self) -> dict[str, str]:
        """As `ingest status --json` prints it."""
        return {
            "code": self.code.value,
            "level": self.level.value,
            "text": self.text,
            "remedy": self.code.remedy,
        }


def exit_code(warnings: Iterable[StatusWarning]) -> ExitCode:
    """What `ingest status` ends with."""
    levels = {warning.level for warning in warnings}
    if Level.ALARM in levels:
        return ExitCode.ALARM
    return ExitCode.WARNING if levels else ExitCode.WELL
