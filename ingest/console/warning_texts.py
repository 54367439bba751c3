"""What each warning is about, without the figures of the moment: those are in English, as in `ingest status`.

English pages need none of this. In another language, this sentence and what to do are translated, and the figures
stand below.
"""

from collections.abc import Mapping

from ingest.console.marking import _
from workers.operations.warnings import Code

WHAT: Mapping[Code, str] = {
    Code.REDIS_UNREACHABLE: _("Redis does not answer."),
    Code.DATABASE_UNREACHABLE: _("The database cannot be used."),
    Code.SPOOL_UNREADABLE: _("The spool's folder cannot be read."),
    Code.OTHER_DATABASE: _("Redis holds what is for another database."),
    Code.TWO_INSTALLATIONS: _("Two installations use one database, or copies of one."),
    Code.NO_ENDPOINT: _("No endpoint takes calls."),
    Code.CALLS_LOST: _("Calls were answered 503 just now."),
    Code.SILENCE: _("No call has come for longer than is usual."),
    Code.REFUSALS_RISING: _("More calls than usual are refused."),
    Code.SIGNATURES_OFF: _("Signatures are not checked: anyone can add events."),
    Code.SPOOL_OPEN: _("Endpoints write to the spool, as Redis does not answer them."),
    Code.SPOOL_WAITING: _("Calls wait in the spool."),
    Code.SPOOL_DAMAGED: _("A part of the spool could not be read."),
    Code.DISK_NEARLY_FULL: _("A disk is nearly full."),
    Code.REDIS_NEARLY_FULL: _("The memory of Redis is nearly full."),
    Code.BACKLOG_OLD: _("Calls wait too long to be stored."),
    Code.STREAM_UNREACHABLE: _("A stream server does not answer."),
    Code.STREAM_LEFT: _("A stream server that is no longer named still has calls."),
    Code.NO_WORKER: _("No worker stores what comes in."),
    Code.NO_HANDLERS_WORKER: _("No worker calls the handlers."),
    Code.WORKERS_SUSPENDED: _("The workers are suspended."),
    Code.PAUSED: _("Something is paused."),
    Code.DEAD_BATCHES: _("Batches could not be unpacked."),
    Code.NO_TABLES: _("The database has no tables yet."),
    Code.QUARANTINED: _("Calls are in quarantine."),
    Code.UNVERIFIED: _("Calls wait to be verified."),
    Code.DAYS_INCOMPLETE: _("Days may lack events; they are tried again."),
    Code.DAYS_GONE: _("Days may lack events, and their log files are gone."),
    Code.TOTALS_DIFFER: _("Copernica's totals differ from the store."),
    Code.GAPS_UNFILLED: _("Gaps are not filled yet."),
    Code.GAPS_LEFT: _("Gaps could not be filled."),
    Code.EXPORT_BEHIND: _("The daily export lags behind."),
    Code.DEAD_LETTERS: _("Handlers gave up events: there are dead letters."),
    Code.DEAD_LETTERS_RISING: _("Handlers give up more and more events."),
}
