"""Calls as they arrive at an endpoint, signed by Copernica, and at a forward target, passed on by a worker."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ingest.batch import Record
from ingest.copernica.events import Event
from ingest.copernica.header_fields import HeaderFields, pack_headers
from ingest.simulation.signer import Signer
from workers.handlers.forward import headers_of
from workers.handlers.signing import Signer as ForwardSigner
from workers.records import record_of

#: The account that calls of a test are from.
ACCOUNT = "account-1"


class Call(NamedTuple):
    """A POST request, for whichever HTTP client or test client sends it."""

    url: str
    headers: dict[str, str]
    body: bytes


class SimulatedCopernica:
    """Signs calls as Copernica does, with a key that only this test knows."""

    def __init__(self, folder: Path, account: str = ACCOUNT) -> None:
        """Writes the public key into a file in this folder."""
        self._signer = Signer.new(account)
        keys = folder / "keys.json"
        keys.write_text(json.dumps({self._signer.key_id: self._signer.dkim_record}))
        #: The settings with which an endpoint takes these calls.
        self.environ = {"INGEST_ACCOUNTS": account, "INGEST_KEYS": str(keys)}

    def signed(self, url: str, event: Event, age: float = 0.0) -> Call:
        """The call that reports an event to this URL; `age` is how many seconds ago it was signed."""
        parts, record = urlsplit(url), record_of(event)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = self._signer.sign(target, parts.netloc, record.content_type.decode(), record.body, age)
        return Call(url, headers, record.body)


@cache
def _signer() -> Signer:
    return Signer.new(ACCOUNT)


def forwarded(url: str, event: Event, secret: str | None = None) -> Call:
    """The call with which an event is passed on to a target in INGEST_FORWARD_URL.

    `secret` is what INGEST_FORWARD_SECRET is: with it, the call is signed by the rules of Standard Webhooks.

    Raises:
        SettingsError: that is no such secret.
    """
    record = record_of(event)
    signed = _signer().sign(event.path, "hooks.example.nl", record.content_type.decode(), record.body)
    fields = HeaderFields.from_pairs([(name.encode(), value.encode()) for name, value in signed.items()])
    record = Record(*record[:5], headers=pack_headers(fields))
    signer = None if secret is None else ForwardSigner.of(secret)
    return Call(url, dict(headers_of(record, signer)), record.body)
