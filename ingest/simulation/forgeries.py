"""Forges calls as others might, all of which an endpoint must refuse."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ingest.simulation.signer import COVERED, Headers, Signer, new_key

#: Seconds by which the date of a forged call is off: beyond any INGEST_MAX_AGE in use.
AGE = 7200.0


class _Call(NamedTuple):
    target: str
    host: str
    content_type: str
    body: bytes

    def headers(self, signer: Signer) -> Headers:
        return signer.headers(self.host, self.content_type, self.body)


def _other_body(signer: Signer, call: _Call) -> Headers:
    headers = signer.sign(call.target, call.host, call.content_type, call.body + b"&forged=1")
    return headers | {"Content-Length": str(len(call.body))}


def _other_path(signer: Signer, call: _Call) -> Headers:
    return signer.sign(f"{call.target}/elsewhere", call.host, call.content_type, call.body)


def _other_account(signer: Signer, call: _Call) -> Headers:
    return signer.signed(call.headers(signer) | {"X-Copernica-ID": "account-999999999"}, call.target)


@cache
def _strangers_key() -> RSAPrivateKey:
    return new_key()


def _stranger(signer: Signer, call: _Call) -> Headers:
    def make(text: bytes) -> bytes:
        return _strangers_key().sign(text, PKCS1v15(), SHA256())

    return signer.signed(call.headers(signer), call.target, make=make)


def _hmac(signer: Signer, call: _Call) -> Headers:
    """Keyed with the public key, which Copernica's published verifier accepts."""
    secret = signer.public_key(Encoding.PEM)
    return signer.signed(
        call.headers(signer), call.target, "hmac-sha256", lambda text: hmac.digest(secret, text, "sha256")
    )


def _weak_digest(signer: Signer, call: _Call) -> Headers:
    digest = base64.b64encode(hashlib.md5(call.body).digest()).decode()  # noqa: S324  # that is the forgery
    return signer.signed(call.headers(signer) | {"Digest": f"md5={digest}"}, call.target)


def _absent_header(signer: Signer, call: _Call) -> Headers:
    return signer.signed(call.headers(signer), call.target, covered=(*COVERED, "x-absent"))


def _uncovered(signer: Signer, call: _Call) -> Headers:
    covered = tuple(name for name in COVERED if name != "digest")
    return signer.signed(call.headers(signer), call.target, covered=covered)


def _two_keys(signer: Signer, call: _Call) -> Headers:
    return signer.signed(call.headers(signer), call.target, extra='keyId="simulator._domainkey.example.com",')


#: Ways to forge a call.
FORGERIES: Mapping[str, Callable[[Signer, _Call], Headers]] = {
    "unsigned": lambda signer, call: call.headers(signer),
    "too-old": lambda signer, call: signer.sign(*call, age=AGE),
    "too-new": lambda signer, call: signer.sign(*call, age=-AGE),
    "other-body": _other_body,
    "other-path": _other_path,
    "other-account": _other_account,
    "stranger": _stranger,
    "hmac": _hmac,
    "weak-digest": _weak_digest,
    "absent-header": _absent_header,
    "uncovered": _uncovered,
    "two-keys": _two_keys,
}


def forge(signer: Signer, kind: str, target: str, host: str, content_type: str, body: bytes) -> Headers:
    """The headers of a call forged in one of the ways in `FORGERIES`; `body` is what will be sent."""
    return FORGERIES[kind](signer, _Call(target, host, content_type, body))
