"""Handlers: called for each event, at least once, in a worker."""

from datetime import UTC, datetime

from ingest import Event
from shop.models import Contact
from workers import on


@on("click")
def clicked(event: Event) -> None:
    """Note when a contact clicked last; twice the same gives the same."""
    moment = datetime.fromtimestamp(event.occurred_at / 1_000_000, UTC)
    Contact.objects.update_or_create(address=event.recipient, defaults={"last_click": moment})
