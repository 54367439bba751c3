"""The kinds of log files that Copernica writes, one per kind and day, and the columns of each.

The facts come from Copernica's articles on log files. The order of columns matters only in CSV without a header
row; for some Publisher kinds it is our best reading of a short table.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import NamedTuple

from ingest.copernica.events import LOGGED_ONLY, EventType
from ingest.errors import LogFileError


class LogKind(NamedTuple):
    """What is in files of one prefix."""

    prefix: str
    #: None for the list of failed calls, which contains no events.
    type: EventType | None
    #: The columns of a CSV without a header row.
    columns: tuple[str, ...]

    @property
    def twin(self) -> bool:
        """Whether webhooks bring the same events."""
        return self.type not in {*LOGGED_ONLY, None}


#: The file that lists the calls which the endpoint did not take.
FAILED_CALLS = "feedback-loop-errors"

_PLACE = "countrycode countryname regioncode city"
_TARGET = "profile subprofile template"
_SUITE = f"senderdomain {_TARGET}"
_PUBLISHER = "senderdomain groupid profile subprofile template document"
_ATTEMPT = "id time mailingid profileid subprofileid databaseid collectionid senderdomain templateid tags email"
_BOT_CLICK = f"id senderdomain time linkinfo ip header email tags {_PLACE} profile subprofile url"
_SMTP_MAIL = "id time envelope recipient"
_SMTP_MIME = f"{_SMTP_MAIL} mime tags templateid"
_SMTP_FAILURE = f"{_SMTP_MAIL} attempt from to type code status description state tags templateid"
_DMARC = "time organizationName email reportId begin end domain sendingDomain messages failedSpf failedDkim"
_SMTP_PLACE = "city countryname countrycode regioncode templateid"

#: Prefix, type, and the columns in their order: Marketing Suite (`cdm`), Publisher (`pom`), SMTPeter.
_TABLE: tuple[tuple[str, EventType | None, str], ...] = (
    ("cdm-impression", EventType.OPEN, f"id time ip header email tags {_PLACE} {_SUITE}"),
    (
        "cdm-click",
        EventType.CLICK,
        f"id senderdomain time linkinfo ip header email tags {_PLACE} {_TARGET}",
    ),
    ("cdm-bot-click", EventType.BOT_CLICK, _BOT_CLICK),
    ("cdm-delivery", EventType.DELIVERY, f"id time attempts email tags {_SUITE}"),
    ("cdm-error", EventType.FAILURE, f"id time type status description code email tags {_SUITE}"),
    ("cdm-abuse", EventType.ABUSE, f"id time mail email tags {_SUITE}"),
    ("cdm-unsubscribe", EventType.UNSUBSCRIBE, f"id time email tags {_SUITE}"),
    ("cdm-attempts", EventType.ATTEMPT, _ATTEMPT),
    ("cdm-retry", EventType.RETRY, f"id time attempt email tags {_SUITE}"),
    ("pom-impressions", EventType.OPEN, f"id time ip header email tags {_PLACE} {_PUBLISHER}"),
    ("pom-clicks", EventType.CLICK, f"id time ip header email tags {_PLACE} linkinfo {_PUBLISHER}"),
    ("pom-clicks-old", EventType.CLICK, f"id time ip header email tags {_PLACE} {_PUBLISHER}"),
    ("pom-bot-click", EventType.BOT_CLICK, _BOT_CLICK),
    ("pom-deliveries", EventType.DELIVERY, f"id time attempts email tags {_PUBLISHER}"),
    ("pom-errors", EventType.FAILURE, f"id time type status description code content email tags {_PUBLISHER}"),
    ("pom-abuses", EventType.ABUSE, f"id time mail email tags {_PUBLISHER}"),
    ("pom-unsubscribes", EventType.UNSUBSCRIBE, f"id time email tags {_PUBLISHER}"),
    ("pom-attempts", EventType.ATTEMPT, f"id time email tags {_PUBLISHER}"),
    ("pom-retries", EventType.RETRY, f"id time attempt email tags {_PUBLISHER}"),
    ("opens", EventType.OPEN, f"id time headers ip protocol tags recipient {_SMTP_PLACE}"),
    ("clicks", EventType.CLICK, f"id time headers ip url destination tags recipient {_SMTP_PLACE}"),
    ("deliveries", EventType.DELIVERY, f"{_SMTP_MAIL} from to attempt tags templateid"),
    ("failures", EventType.FAILURE, _SMTP_FAILURE),
    ("bounces", EventType.BOUNCE, _SMTP_MIME),
    ("abuses", EventType.ABUSE, f"{_SMTP_MAIL} tags templateid"),
    ("attempts", EventType.ATTEMPT, f"{_SMTP_MAIL} properties tags templateid"),
    ("dmarc", EventType.DMARC, _DMARC),
    ("responses", EventType.RESPONSE, _SMTP_MIME),
    (FAILED_CALLS, None, "time response recipient header"),
)
#: Every kind of file, by its prefix.
KINDS: Mapping[str, LogKind] = {
    prefix: LogKind(prefix, kind, tuple(columns.split())) for prefix, kind, columns in _TABLE
}

_SPELLED = {name.casefold(): name for kind in KINDS.values() for name in kind.columns}


def spelled(names: Iterable[str]) -> tuple[str, ...]:
    """Names of columns as Copernica spells them, whatever their case; others as they are."""
    return tuple(_SPELLED.get(name.strip().casefold(), name.strip()) for name in names)


def misnamed(names: Iterable[str], kind: LogKind) -> str:
    """Why a file with these columns is not of this kind, if they are surely those of another; else empty.

    Columns may be lacking, and there may be new ones. Kinds of one type are read alike, so they count as one.
    """
    given = frozenset(names)
    own = [other.columns for other in KINDS.values() if other.type is kind.type]
    others = [other for other in KINDS.values() if other.type is not kind.type]
    known = max(len(given.intersection(columns)) for columns in own)
    most = max(len(given.intersection(other.columns)) for other in others)
    nearest = [other for other in others if len(given.intersection(other.columns)) == most]
    if most == known:  # then it is another's only if it has all of its columns, and not all of any of ours
        lacking = not any(given.issuperset(columns) for columns in own)
        nearest = [other for other in nearest if lacking and given.issuperset(other.columns)]
    if most < known or not nearest:
        return ""
    fewest = min(len(other.columns) for other in nearest)
    likely = " or ".join(other.prefix for other in nearest if len(other.columns) == fewest)
    return f"it has the columns of {likely}, not of {kind.prefix}: rename it, or say what it is with --kind"


# The kind may follow other words ("Copy of …"), but is never the end of another kind's name.
_NAME = re.compile(
    rf"(?<![\w-])({'|'.join(sorted(KINDS, key=len, reverse=True))})[._ -]+(\d{{4}}-\d\d-\d\d)(?!\d)", re.IGNORECASE
)


def named(name: str) -> tuple[LogKind, date]:
    """The kind and the day in a file's name: `cdm-impression.2026-11-04.log.csv.gz`, with or without a path.

    Raises:
        LogFileError: it names none.
    """
    match = _NAME.search(re.split(r"[/\\]", name)[-1])
    try:
        if match:
            return KINDS[match[1].lower()], date.fromisoformat(match[2])
    except ValueError:
        pass  # the 31st of February
    raise LogFileError(
        f"{name!r} does not name a kind of log file and a day, as cdm-impression.2026-11-04.log does: "
        "rename it, or say what it is with --kind and --day."
    )
