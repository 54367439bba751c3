"""Sends `anymail.signals.tracking` for each event that Anymail has a name for."""

from anymail.signals import tracking

from ingest import Event
from workers import on
from workers.contrib.django.anymail.translation import TYPES, tracking_event

#: What receivers get as `esp_name`.
ESP_NAME = "Copernica"


class CopernicaTracking:
    """The sender of the signal, for receivers that ask for one."""


@on(*TYPES, name="anymail")
def send_tracking(event: Event) -> None:
    """Call all receivers; the first that raises ends it, and all are called again later."""
    tracking.send(sender=CopernicaTracking, event=tracking_event(event), esp_name=ESP_NAME)
