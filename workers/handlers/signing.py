"""The signatures of forwarded calls, by the rules of Standard Webhooks.

What is signed is `id.timestamp.body`. The header may name several signatures, and a receiver takes the call if one
of them is right. So there is one for each secret, while a secret is changed; and of a body that is not UTF-8 there
are two with each, since some receivers sign its bytes (PHP, Go), others the text that they made of them, errors
replaced (JavaScript).
"""

import base64
import hmac
from dataclasses import dataclass, field
from typing import Self

from ingest.errors import SettingsError

#: How a secret may begin; it is no part of the key.
PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs calls with each of its keys."""

    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def of(cls, secrets: str) -> Self:
        """The signer with these secrets, which commas separate.

        Raises:
            SettingsError: one of them is not base64, or empty.
        """
        return cls(tuple(map(_key, secrets.split(","))))

    def headers(self, delivery_id: str, second: int, body: bytes) -> dict[str, str]:
        """The three headers of a call that is sent in this Unix second."""
        bodies = dict.fromkeys((body, body.decode("utf-8", "replace").encode()))
        before = f"{delivery_id}.{second}.".encode()
        signatures = (_sign(key, before + each) for key in self.keys for each in bodies)
        return {
            "webhook-id": delivery_id,
            "webhook-timestamp": str(second),
            "webhook-signature": " ".join(signatures),
        }


def _key(secret: str) -> bytes:
    encoded = secret.strip().removeprefix(PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise SettingsError(
            "INGEST_FORWARD_SECRET should be base64, as in whsec_MfKQ9r8GKYqrTwjUPD8ILPZI, or several with commas "
            "between them."
        )
    return key


def _sign(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
