"""What a result tells, under the names that a webhook has for it.

What a webhook does not tell keeps Copernica's own name, and goes into the payload.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from ingest.copernica.events import EventType
from workers.catch_up.shelf import Found
from workers.reconcile.results import Told

#: Fields of results that webhooks have under another name.
_NAMES: Mapping[EventType, Mapping[str, str]] = MappingProxyType(
    {
        EventType.CLICK: {"link": "original"},
        EventType.FAILURE: {"errorcode": "code"},
    }
)
#: The field of a failure that is a webhook's `extended`, where it looks like one: 5.1.1.
STATUS, EXTENDED = "status", re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
#: Names that mean something else in a webhook: what a result calls so goes under another name.
_TAKEN = frozenset({"id", "type", "time", "recipient", "result", "tags", "action"})


def told(kind: EventType, one: Found) -> Told:
    """A result whose message is known, as a line to be compared."""
    names = _NAMES.get(kind, {})
    fields: dict[str, object] = {}
    for name, value in one.fields.items():
        field = names.get(name, name)
        fields[f"result_{name}" if field in _TAKEN else field] = value
    status = fields.get(STATUS)
    if kind is EventType.FAILURE and isinstance(status, str) and EXTENDED.fullmatch(status):
        fields["extended"] = fields.pop(STATUS)
    if kind is EventType.OPEN:
        fields.pop("code", None)  # an open with a code would be taken for a delivery
    about = {
        "id": one.message,
        "recipient": one.recipient,
        "profile": one.profile,
        "subprofile": one.subprofile,
        "mailing": one.mailing,
        "destination": one.destination,
    }
    return Told(one.product, one.id, one.timestamp, {**fields, **about})
