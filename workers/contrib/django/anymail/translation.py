"""An event in Anymail's words: https://anymail.dev/en/stable/sending/tracking/ says what these mean."""

from collections.abc import Mapping
from datetime import UTC, datetime

from anymail.signals import AnymailTrackingEvent, EventType, RejectReason

from ingest import Event
from ingest.copernica.addresses import bare
from ingest.copernica.event_types import EventType as Ours
from ingest.copernica.events import MICROS

#: Our types that Anymail has a word for. An `attempt` and a suspected click of a machine tell a receiver nothing
#: that it could act upon, and changes of profiles are not about a message.
TYPES: Mapping[str, str] = {
    Ours.DELIVERY: EventType.DELIVERED,
    Ours.OPEN: EventType.OPENED,
    Ours.CLICK: EventType.CLICKED,
    Ours.FAILURE: EventType.BOUNCED,
    Ours.BOUNCE: EventType.BOUNCED,
    Ours.RETRY: EventType.DEFERRED,
    Ours.ABUSE: EventType.COMPLAINED,
    Ours.UNSUBSCRIBE: EventType.UNSUBSCRIBED,
    Ours.RESPONSE: EventType.AUTORESPONDED,
}
#: What receiving servers mean by the first numbers of an extended status code (RFC 3463).
_REASONS = (
    ("5.1.", RejectReason.INVALID),
    ("4.4.7", RejectReason.TIMED_OUT),
    ("5.4.7", RejectReason.TIMED_OUT),
    ("5.7.", RejectReason.BLOCKED),
)


def tracking_event(event: Event) -> AnymailTrackingEvent:
    """What Anymail's receivers expect; `event_id` is the delivery id, the same each time the event comes."""
    return AnymailTrackingEvent(
        event_type=TYPES[event.type],
        timestamp=datetime.fromtimestamp(event.occurred_at / MICROS, UTC),
        event_id=event.delivery_id.hex(),
        esp_event=event.fields,
        message_id=event.message_id,
        recipient=bare(event.recipient) if event.recipient else None,
        tags=list(event.tags),
        metadata=_metadata(event),
        reject_reason=_reason(event),
        description=event.description,
        mta_response=_response(event),
        click_url=event.url if event.type == Ours.CLICK else None,
        user_agent=event.user_agent,
    )


def _metadata(event: Event) -> dict[str, str]:
    """Numbers of Copernica's that tell whose message it is, and of which mailing; Anymail's are always texts."""
    named = {name: getattr(event, name) for name in ("mailing", "profile", "subprofile", "database", "collection")}
    return {name: str(value) for name, value in named.items() if value is not None}


def _reason(event: Event) -> str | None:
    if event.type == Ours.ABUSE:
        return str(RejectReason.SPAM)
    if event.type == Ours.UNSUBSCRIBE:
        return str(RejectReason.UNSUBSCRIBED)
    if event.type not in (Ours.FAILURE, Ours.BOUNCE):
        return None
    extended = event.extended or ""
    return str(next((reason for begin, reason in _REASONS if extended.startswith(begin)), RejectReason.BOUNCED))


def _response(event: Event) -> str | None:
    """What the receiving server said, with its codes."""
    said = [str(one) for one in (event.code, event.extended, event.description) if one is not None]
    return " ".join(said) if event.code is not None else None
