"""What pages call each type of event, and how they colour it; the word always says it, too."""

from typing import NamedTuple

from markupsafe import escape

from ingest.console.marking import _
from ingest.copernica.event_types import EventType
from ingest.shown import escaped
from workers.store.lines import Line

#: Characters of a type that nobody here knows.
LONGEST = 40


class Kind(NamedTuple):
    """A type of event in a person's words."""

    text: str
    #: The class of its badge: good, warn, bad or nothing.
    tone: str = ""


KINDS = {
    EventType.DELIVERY: Kind(_("Delivered"), "good"),
    EventType.OPEN: Kind(_("Opened")),
    EventType.CLICK: Kind(_("Clicked")),
    EventType.UNSUBSCRIBE: Kind(_("Unsubscribed"), "warn"),
    EventType.ABUSE: Kind(_("Complained"), "bad"),
    EventType.BOUNCE: Kind(_("Bounced"), "bad"),
    EventType.FAILURE: Kind(_("Failed"), "bad"),
    EventType.PROFILE_CREATE: Kind(_("Profile created")),
    EventType.PROFILE_UPDATE: Kind(_("Profile changed")),
    EventType.PROFILE_DELETE: Kind(_("Profile deleted")),
    EventType.SUBPROFILE_CREATE: Kind(_("Subprofile created")),
    EventType.SUBPROFILE_UPDATE: Kind(_("Subprofile changed")),
    EventType.SUBPROFILE_DELETE: Kind(_("Subprofile deleted")),
    EventType.ATTEMPT: Kind(_("Attempted")),
    EventType.RETRY: Kind(_("Tried again"), "warn"),
    EventType.BOT_CLICK: Kind(_("Clicked by a program")),
    EventType.DMARC: Kind(_("DMARC report")),
    EventType.RESPONSE: Kind(_("Answered")),
    EventType.UNKNOWN: Kind(_("Unknown")),
}


def kind_of(kind: str) -> Kind:
    """What pages call a type; its own name if another release knows it.

    Pages translate the text, and what they translate counts as ours: what is not has to be escaped before.
    """
    known: Kind | None = KINDS.get(kind)  # type: ignore[call-overload]  # a StrEnum is its text
    return known or Kind(str(escape(escaped(kind[:LONGEST]))).replace("%", "%%"))


def answer_of(line: Line) -> str:
    """What a mail server answered: `550 5.1.1 user unknown`."""
    return " ".join(str(part) for part in (line.code, line.extended, line.description) if part not in (None, ""))


def detail_of(line: Line) -> str:
    """What an event is about, in one line: where a click led, what a server answered, what opened it."""
    return line.url or answer_of(line) or line.user_agent or ""
