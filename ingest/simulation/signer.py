"""Signs calls as Copernica does, for the simulator and for users' tests.

A signer has a key pair of its own, an account and a key id. `ingest dev` creates one and makes its endpoint accept
it through `INGEST_KEYS`; no other endpoint knows it. The form of the signature comes from Copernica's published
PHP signer.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ingest.errors import SettingsError

#: The key id of simulated calls.
KEY_ID = "simulator._domainkey.copernica.com"
#: Bits of the simulator's key: as many as in the documentation's own example. With 2048, signing takes five times
#: as long, and the simulator could not keep the endpoint busy.
KEY_BITS = 1024
#: What the signature covers, in the order of Copernica's published signer.
COVERED = (
    "(request-target)",
    "host",
    "date",
    "content-length",
    "content-type",
    "x-copernica-id",
    "digest",
    "x-nonce",
)

Headers = dict[str, str]


def new_key() -> rsa.RSAPrivateKey:
    """A fresh key pair."""
    return rsa.generate_private_key(65537, KEY_BITS)


class Signer:
    """Signs as one account with one key."""

    def __init__(self, key: rsa.RSAPrivateKey, account: str, key_id: str = KEY_ID) -> None:
        self._key = key
        self.account = account
        self.key_id = key_id

    @classmethod
    def new(cls, account: str) -> "Signer":
        """A signer with a fresh key."""
        return cls(new_key(), account)

    @classmethod
    def load(cls, path: Path) -> "Signer":
        """Read what `save` wrote.

        Raises:
            SettingsError: it cannot be read.
        """
        try:
            content = json.loads(path.read_text())
            key = load_pem_private_key(content["private_key"].encode(), None)
            if not isinstance(key, rsa.RSAPrivateKey):
                raise TypeError("not an RSA key")
            return cls(key, content["account"], content["key_id"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = getattr(error, "strerror", None) or "it holds no signer"
            raise SettingsError(
                f"The signer in {path} cannot be read: {why}; name the file that `ingest dev` makes, with --key, "
                "or delete it, and `ingest dev` makes another."
            ) from None

    def for_account(self, account: str) -> "Signer":
        """The same key for another account."""
        return Signer(self._key, account, self.key_id)

    def save(self, path: Path) -> None:
        """Write it to a file, with its private key, that only this user can read; all of it, or nothing changes.

        Raises:
            OSError: it cannot be written.
        """
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        fresh = path.with_name(f"{path.name}.new")
        fresh.touch(mode=0o600)
        fresh.write_text(
            json.dumps({"account": self.account, "key_id": self.key_id, "private_key": pem}, indent=1)
        )
        fresh.replace(path)

    @property
    def dkim_record(self) -> str:
        """The public key as it would be published in DNS."""
        return f"v=DKIM1; k=rsa; p={base64.b64encode(self.public_key(Encoding.DER)).decode()}"

    def public_key(self, encoding: Encoding) -> bytes:
        """The public key, in this encoding."""
        return self._key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, target: str, host: str, content_type: str, body: bytes, age: float = 0.0) -> Headers:
        """The headers of a signed call; `age` moves its date back, in seconds."""
        return self.signed(self.headers(host, content_type, body, age), target)

    def headers(self, host: str, content_type: str, body: bytes, age: float = 0.0) -> Headers:
        """The headers of a call, without a signature."""
        return {
            "Host": host,
            "Date": formatdate(time.time() - age, usegmt=True),
            "Content-Length": str(len(body)),
            "Content-Type": content_type,
            "X-Copernica-ID": self.account,
            "Digest": "sha-256=" + base64.b64encode(hashlib.sha256(body).digest()).decode(),
            "X-Nonce": secrets.token_hex(4),
        }

    def signed(
        self,
        headers: Headers,
        target: str,
        algorithm: str = "rsa-sha256",
        make: Callable[[bytes], bytes] | None = None,
        covered: tuple[str, ...] = COVERED,
        extra: str = "",
    ) -> Headers:
        """Headers with a signature added.

        `make` makes the signature of a text, by default with this signer's key; `extra` is put between the key id
        and the other parameters.
        """
        values = {name.lower(): value for name, value in headers.items()}
        values["(request-target)"] = f"post {target}"
        text = "\n".join(f"{name}: {values.get(name, '')}" for name in covered).encode()
        signature = make(text) if make else self._key.sign(text, PKCS1v15(), SHA256())
        return headers | {
            "Signature": (
                f'keyId="{self.key_id}",{extra}algorithm="{algorithm}",headers="{" ".join(covered)}",'
                f'signature="{base64.b64encode(signature).decode()}"'
            )
        }
