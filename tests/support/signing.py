"""Signs calls as Copernica does, for tests: written from the draft alone, and blind to how we verify."""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KEY_ID = "one._domainkey.copernica.com"
TARGET = b"/copernica"
BODY = b"id=5fd2c1aa90bb&type=open&tags%5B0%5D=nieuwsbrief"
HOST = "hooks.example.nl"
FORM = b"application/x-www-form-urlencoded"

#: What Copernica's own signer covers, as it writes it …
COVERED = (
    "(request-target)", "host", "date", "content-length", "content-type", "x-copernica-id", "digest", "x-nonce",
)  # fmt: skip  # a list to be read across, not a column of single words
#: … and as its documentation does.
DOCUMENTED = (
    "(request-target)", "Host", "Date", "Content-length", "Content-type", "X-Copernica-ID", "Digest", "X-nonce",
)  # fmt: skip  # a list to be read across, not a column of single words
#: What no signature may leave out.
REQUIRED = ("(request-target)", "host", "date", "x-copernica-id", "digest")


@lru_cache
def private_key(bits: int = 2048, name: str = "") -> rsa.RSAPrivateKey:
    """A key that is the same for all tests; another one for another name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def der(key: rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def dkim_record(key: rsa.RSAPublicKey) -> str:
    """What DNS says at the key's name."""
    return f"v=DKIM1; k=rsa; p={base64.b64encode(der(key)).decode()}"


class Call(NamedTuple):
    """A call as it comes in: the first four arguments of `check`."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def value(self, name: str) -> bytes:
        """The value of the first header of a name."""
        return next(value for known, value in self.headers if known.lower() == name.lower().encode())

    def changed(self, name: str, value: str | bytes) -> "Call":
        """With another value, at the same place."""
        raw, wanted = _bytes(value), name.lower().encode()
        return self._replace(headers=[(n, raw if n.lower() == wanted else v) for n, v in self.headers])

    def also(self, name: str, value: str | bytes) -> "Call":
        """With one header more."""
        return self._replace(headers=[*self.headers, (name.encode(), _bytes(value))])

    def without(self, name: str) -> "Call":
        return self._replace(headers=[(n, v) for n, v in self.headers if n.lower() != name.lower().encode()])


class Parameters(NamedTuple):
    """What a Signature header says."""

    key_id: str
    algorithm: str
    headers: str
    signature: str


Form = Callable[[Parameters], str]


def plain(p: Parameters) -> str:
    """As Copernica's signer writes it."""
    return f'keyId="{p.key_id}",algorithm="{p.algorithm}",headers="{p.headers}",signature="{p.signature}"'


def documented(p: Parameters) -> str:
    """As its documentation shows it, with a comma missing and, as HTTP once allowed, in several lines."""
    return (
        f'keyId="{p.key_id}",algorithm="{p.algorithm}"\r\n headers="{p.headers}",\r\n\tsignature="{p.signature}"'
    )


def blanks(p: Parameters) -> str:
    return (
        f'  keyId = "{p.key_id}" ,  algorithm= "{p.algorithm}",headers ="  {p.headers.replace(" ", "  ")} " ,'
        f' signature\t=\t"{p.signature}" , '
    )


def unknown_parameters(p: Parameters) -> str:
    return f'version="1",{plain(p)},created=1402170695, Opaque="keyId is not here, nor a signature"'


def other_order(p: Parameters) -> str:
    return f'SIGNATURE="{p.signature}",Headers="{p.headers}",ALGORITHM="{p.algorithm}",keyid="{p.key_id}"'


_ALGORITHMS: dict[str, hashes.HashAlgorithm] = {"rsa-sha256": hashes.SHA256(), "rsa-sha512": hashes.SHA512()}


@dataclass(frozen=True)
class Signer:
    """Makes and signs calls. What is covered stands in the list as given here."""

    key: rsa.RSAPrivateKey = field(default_factory=private_key)
    key_id: str = KEY_ID
    algorithm: str = "rsa-sha256"
    covered: Sequence[str] = COVERED
    form: Form = plain
    digests: Sequence[str] = ("sha-256",)
    #: How the value of the signature is made, if not with the private key.
    forge: Callable[[bytes], bytes] | None = None

    @property
    def public(self) -> rsa.RSAPublicKey:
        return self.key.public_key()

    def call(
        self,
        body: bytes = BODY,
        target: bytes = TARGET,
        account: str = "account_1234",
        host: str = HOST,
        date: float | None = None,
    ) -> Call:
        """A signed call; its date is now unless told."""
        headers = [
            (b"Host", host.encode()),
            (b"Date", formatdate(time.time() if date is None else date, usegmt=True).encode()),
            (b"Content-Length", str(len(body)).encode()),
            (b"Content-Type", FORM),
            (b"X-Copernica-ID", account.encode()),
            (b"Digest", ",".join(digest(name, body) for name in self.digests).encode()),
            (b"X-Nonce", hashlib.sha256(body).hexdigest()[:8].encode()),
        ]
        return self.sign(Call(b"POST", target, headers, body))

    def sign(self, call: Call) -> Call:
        """The call with the signature that it should have, whatever it is."""
        made = self._value(signing_string(call, self.covered))
        stated = Parameters(
            self.key_id, self.algorithm, " ".join(self.covered), base64.b64encode(made).decode("ascii")
        )
        return call.without("Signature").also("Signature", self.form(stated))

    def _value(self, text: bytes) -> bytes:
        if self.forge is not None:
            return self.forge(text)
        return self.key.sign(text, padding.PKCS1v15(), _ALGORITHMS.get(self.algorithm.lower(), hashes.SHA256()))


def signing_string(call: Call, covered: Iterable[str]) -> bytes:
    """What is signed; a header that is not there reads as empty, as Copernica's verifier has it."""
    values = {name.lower(): value.strip(b" \t") for name, value in reversed(call.headers)}
    values[b"(request-target)"] = call.method.lower() + b" " + call.target
    names = [name.lower().encode() for name in covered]
    return b"\n".join(name + b": " + values.get(name, b"") for name in names)


def digest(name: str, body: bytes) -> str:
    """One digest of a body, its name written as given."""
    made = hashlib.new(name.lower().replace("-", ""), body).digest()
    return f"{name}={base64.b64encode(made).decode()}"


def hmac_with(key: rsa.RSAPublicKey) -> Callable[[bytes], bytes]:
    """Anybody can make these: the key is public. Its PEM is what a verifier in PHP holds."""
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return lambda text: hmac.digest(pem, text, "sha256")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def same(one: rsa.RSAPublicKey | None, other: rsa.RSAPublicKey) -> bool:
    """Whether two public keys are the same."""
    return one is not None and one.public_numbers() == other.public_numbers()
