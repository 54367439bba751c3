"""The table of events as a model that only reads; `ingest db upgrade` creates the table, not `migrate`."""

from typing import Any, NoReturn

from django.db import models

from ingest.copernica.events import EventType
from workers.contrib.django.fields import DeliveryIdField, MomentField


class ReadOnly(TypeError):
    """Events are written by workers alone: counts, figures and the search index belong to them."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__("Events are read-only here: workers store them, and `ingest erase` removes a person's.")


def _refused(*_: object, **__: object) -> NoReturn:
    raise ReadOnly


class EventQuerySet(models.QuerySet):
    """Queries that change nothing."""

    create = update = delete = bulk_create = bulk_update = get_or_create = update_or_create = _refused


class Event(models.Model):
    """One event. The columns are those of the table `events`, which the documentation describes.

    The delivery id grows with the time at which the call came, so `order_by("-delivery_id")` is the newest first
    at any size.
    """

    delivery_id = DeliveryIdField(primary_key=True)
    type = models.TextField(choices=[(one.value, one.value) for one in EventType])
    message_id = models.TextField(null=True)
    occurred_at = MomentField()
    received_at = MomentField()
    recipient = models.TextField(null=True)
    ip = models.TextField(null=True)
    url = models.TextField(null=True)
    user_agent = models.TextField(null=True)
    referer = models.TextField(null=True)
    profile = models.BigIntegerField(null=True)
    subprofile = models.BigIntegerField(null=True)
    database = models.BigIntegerField(null=True)
    collection = models.BigIntegerField(null=True)
    mailing = models.BigIntegerField(null=True)
    code = models.BigIntegerField(null=True)
    extended = models.TextField(null=True)
    state = models.TextField(null=True)
    description = models.TextField(null=True)
    tags = models.JSONField()
    payload = models.JSONField()
    path = models.TextField()
    source = models.TextField()
    raw = models.BinaryField(null=True)
    raw_type = models.TextField(null=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        """The program's own table, which `migrate` leaves alone."""

        managed = False
        db_table = "events"
        default_permissions = ("view",)

    def __str__(self) -> str:
        """For lists and titles."""
        return f"{self.type} {self.delivery_id}"

    def save(self, *_: Any, **__: Any) -> NoReturn:
        """Never: see `ReadOnly`."""
        raise ReadOnly

    def delete(self, *_: Any, **__: Any) -> NoReturn:
        """Never: see `ReadOnly`."""
        raise ReadOnly
