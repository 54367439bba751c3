"""Signs calls as Copernica does, and forges them as others might: for the simulator and for users' tests.

A signer has a key pair of its own, an account and a key id. `ingest dev` makes one and has its endpoint accept it
through `INGEST_KEYS`; no other endpoint knows it.
"""

import base64
import hashlib
import hmac
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


class Signer:
    """Signs as one account with one key."""

    def __init__(self, key: rsa.RSAPrivateKey, account: str, key_id: str = KEY_ID) -> None:
        self._key = key
        self.account = account
        self.key_id = key_id
        self._stranger = rsa.generate_private_key(65537, KEY_BITS)

    @classmethod
    def new(cls, account: str) -> "Signer":
        """A signer with a fresh key."""
        return cls(rsa.generate_private_key(65537, KEY_BITS), account)

    @classmethod
    def load(cls, path: Path) -> "Signer":
        """Read what `save` wrote.

        Raises:
            SettingsError: it cannot be read.
        """
        try:
            content = json.loads(path.read_text())
            key = load_pem_private_key(content["private_key"].encode(), None)
            assert isinstance(key, rsa.RSAPrivateKey)
            return cls(key, content["account"], content["key_id"])
        except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
            raise SettingsError(f"The signer in {path} cannot be read: {error}.") from None

    def for_account(self, account: str) -> "Signer":
        """The same key for another account."""
        return Signer(self._key, account, self.key_id)

    def save(self, path: Path) -> None:
        """Keep it, with its private key, for this user alone."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        path.touch(mode=0o600)
        path.write_text(json.dumps({"account": self.account, "key_id": self.key_id, "private_key": pem}, indent=1))

    @property
    def dkim_record(self) -> str:
        """The public key as it would lie in DNS."""
        return f"v=DKIM1; k=rsa; p={base64.b64encode(self._public(Encoding.DER)).decode()}"

    def _public(self, encoding: Encoding) -> bytes:
        return self._key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, target: str, host: str, content_type: str, body: bytes, age: float = 0.0) -> Headers:
        """The headers of a signed call; `age` shifts its date, in seconds."""
        headers = self._headers(host, content_type, body, age)
        self._sign(headers, target)
        return headers

    def _headers(self, host: str, content_type: str, body: bytes, age: float = 0.0) -> Headers:
        return {
            "Host": host,
            "Date": formatdate(time.time() - age, usegmt=True),
            "Content-Length": str(len(body)),
            "Content-Type": content_type,
            "X-Copernica-ID": self.account,
            "Digest": "sha-256=" + base64.b64encode(hashlib.sha256(body).digest()).decode(),
            "X-Nonce": secrets.token_hex(4),
        }

    def _sign(
        self,
        headers: Headers,
        target: str,
        algorithm: str = "rsa-sha256",
        make: Callable[[bytes], bytes] | None = None,
        covered: tuple[str, ...] = COVERED,
        extra: str = "",
    ) -> None:
        values = {name.lower(): value for name, value in headers.items()}
        values["(request-target)"] = f"post {target}"
        signed = "\n".join(f"{name}: {values.get(name, '')}" for name in covered).encode()
        signature = make(signed) if make else self._key.sign(signed, PKCS1v15(), SHA256())
        headers["Signature"] = (
            f'keyId="{self.key_id}",{extra}algorithm="{algorithm}",headers="{" ".join(covered)}",'
            f'signature="{base64.b64encode(signature).decode()}"'
        )

    def forge(self, kind: str, target: str, host: str, content_type: str, body: bytes) -> Headers:
        """The headers of a forged call of one of the kinds in `FORGERIES`; `body` is what will be sent."""
        headers = self._headers(host, content_type, body)
        if kind == "unsigned":
            return headers
        if kind in ("too-old", "too-new"):
            return self.sign(target, host, content_type, body, age=7200 if kind == "too-old" else -7200)
        if kind == "other-body":
            return self.sign(target, host, content_type, body + b"&forged=1") | {"Content-Length": str(len(body))}
        if kind == "other-path":
            return self.sign(target + "/elsewhere", host, content_type, body)
        if kind == "other-account":
            headers["X-Copernica-ID"] = "account-999999999"
            self._sign(headers, target)
        elif kind == "stranger":
            self._sign(headers, target, make=lambda signed: self._stranger.sign(signed, PKCS1v15(), SHA256()))
        elif kind == "hmac":
            secret = self._public(Encoding.PEM)
            self._sign(headers, target, "hmac-sha256", lambda signed: hmac.digest(secret, signed, "sha256"))
        elif kind == "weak-digest":
            headers["Digest"] = "md5=" + base64.b64encode(hashlib.md5(body).digest()).decode()  # noqa: S324
            self._sign(headers, target)
        elif kind == "absent-header":
            self._sign(headers, target, covered=(*COVERED, "x-absent"))
        elif kind == "uncovered":
            self._sign(headers, target, covered=tuple(name for name in COVERED if name != "digest"))
        elif kind == "two-keys":
            self._sign(headers, target, extra='keyId="simulator._domainkey.example.com",')
        return headers


#: Ways to forge a call; all of them must be refused.
FORGERIES = (
    "unsigned", "too-old", "too-new", "other-body", "other-path", "other-account", "stranger", "hmac",
    "weak-digest", "absent-header", "uncovered", "two-keys",
)  # fmt: skip
