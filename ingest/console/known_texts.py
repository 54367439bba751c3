"""What the program says of days and of its own set-up, as far as it is one of a few texts: those are translated.

What has figures, addresses or somebody else's words in it stays English, and is marked as such.
"""

from collections.abc import Mapping

from ingest.console.marking import _
from workers.reconcile.report import DayCause

#: Why a day is not complete.
DAY_CAUSES: Mapping[DayCause, str] = {
    DayCause.CUT_SHORT: _("The attempt was cut short: its process was killed, or lost the database."),
    DayCause.GONE: _("The log files of this day are gone: they were not kept that long."),
    DayCause.NOT_THERE: _("Not all log files of this day are there yet."),
    DayCause.FORBIDDEN: _("The API refuses the token, or does not let it read log files."),
    DayCause.UNREACHABLE: _("The API did not answer, or answered with a fault of its own."),
    DayCause.REJECTED: _("The API answered something that is not understood."),
    DayCause.UNMATCHED: _("Lines of the log files were neither found in the store nor recovered."),
}
#: What a finding of `ingest check` is about.
ABOUT = (
    _("accounts"),
    _("clickhouse"),
    _("clock"),
    _("commands"),
    _("database"),
    _("encryption"),
    _("export"),
    _("files"),
    _("handlers"),
    _("hosts"),
    _("kafka"),
    _("keys"),
    _("log files"),
    _("memory"),
    _("pseudonyms"),
    _("redis"),
    _("retention"),
    _("signatures"),
    _("smtpeter"),
    _("spool"),
    _("streams"),
    _("webhooks"),
    _("workers"),
)
