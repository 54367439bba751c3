"""A receiver as one writes it for any service that Anymail knows: nothing in it is about Copernica."""

from typing import Any

from anymail.signals import AnymailTrackingEvent, EventType, tracking
from django.dispatch import receiver

from shop.models import Contact


@receiver(tracking)
def note_bounces(event: AnymailTrackingEvent, **_: Any) -> None:
    """Do not write again to an address that bounced."""
    if event.event_type == EventType.BOUNCED:
        Contact.objects.update_or_create(address=event.recipient, defaults={"bounced": True})
