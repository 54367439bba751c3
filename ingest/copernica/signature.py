"""Who signed a call: Copernica's signature on every webhook, checked as strictly as its documentation allows.

Copernica signs according to draft-cavage-http-signatures (version 10), with RSA and a key that is published in DNS
as a DKIM record below copernica.com. The facts come from its article on webhook security and from running its
published PHP verifier, whose mistakes are not repeated: it accepts an HMAC keyed with the public key, accepts weak
digests, reads a signed but absent header as empty, and lets the last of two equal parameters win.

`examine` does everything but the arithmetic and needs no key. The `Claim` it returns says whose key is needed, and
its `verify` does the rest. Both are pure functions of their arguments.
"""

import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA512

from ingest.copernica.accounts import full_name, spelled
from ingest.copernica.header_fields import HeaderFields, Headers
from ingest.errors import CallRejected, Reason

_TARGET = b"(request-target)"
#: What a signature must cover. Copernica's own verifier requires the nonce as well, an older one still more.
REQUIRED = frozenset({_TARGET, b"host", b"date", b"x-copernica-id", b"digest"})
#: Accepted algorithms, by their names in the Signature header; anything else, above all HMAC, is rejected.
ALGORITHMS: Mapping[str, SHA256 | SHA512] = {"rsa-sha256": SHA256(), "rsa-sha512": SHA512()}
#: Digests that count; weaker ones are ignored, and are not enough alone.
DIGESTS = {b"sha-256": hashlib.sha256, b"sha-512": hashlib.sha512}
#: Most digests in one header: there are fewer algorithms than that.
MAX_DIGESTS = 8
#: Fewest bits of an RSA key. The documentation's own example was made with 1024.
MIN_KEY_BITS = 1024
#: Most characters of a DNS name, of a Signature header (an RSA-4096 signature takes 684) and of a date.
MAX_KEY_ID = 253
MAX_SIGNATURE_HEADER = 4096
MAX_DATE = 64

# One parameter: a name and a quoted value, or a bare one (numbers, in later drafts). Two are separated by a comma,
# by blanks, or by nothing, as in Copernica's own example.
_PARAMETER = re.compile(rb'[\s,]*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"([^"]*)"|([^\s",]+))')
_LAST = b',signature="'
_SIGNATURE = re.compile(rb'(?<![A-Za-z0-9_-])signature\s*=\s*"([^"]*)"', re.IGNORECASE)
#: What folding a header leaves inside a value.
_FOLDS = b" \t\r\n"
_KEY_ID = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+copernica\.com")
_DIGEST = re.compile(rb"\s*([A-Za-z0-9-]+)=([A-Za-z0-9+/]+={0,2})\s*")


@dataclass(frozen=True, slots=True)
class Policy:
    """Whose calls are accepted. `accounts` as in X-Copernica-ID; no `hosts` means any."""

    accounts: frozenset[bytes]
    hosts: frozenset[bytes] = frozenset()
    #: Seconds that `Date` may be off, into the past and into the future.
    max_age: int = 300

    @classmethod
    def from_settings(cls, accounts: Iterable[str], hosts: Iterable[str] = (), max_age: int = 300) -> "Policy":
        """From names as people write them: see `full_name`."""
        named = frozenset(full_name(account).encode() for account in accounts)
        return cls(named, frozenset(name.encode().lower() for name in hosts), max_age)


class Claim(NamedTuple):
    """What a call says about its signer, all checked but the signature itself. `date` is in Unix seconds."""

    account: str
    key_id: str
    algorithm: str
    date: int
    signed: bytes
    signature: bytes

    def verify(self, key: RSAPublicKey) -> None:
        """Check the signature.

        Raises:
            CallRejected: it was not made with this key.
        """
        try:
            key.verify(self.signature, self.signed, _PADDING, ALGORITHMS[self.algorithm])
        except InvalidSignature:
            raise CallRejected(Reason.WRONG_SIGNATURE) from None

    @property
    def delivery_id(self) -> bytes:
        """12 bytes that are the same whenever this call is seen: its second, then a hash of its signature."""
        return self.date.to_bytes(4, "big") + hashlib.sha256(self.signature).digest()[:8]


_PADDING = PKCS1v15()


def check(
    method: bytes, target: bytes, headers: Headers, body: bytes, received: float, policy: Policy, key: RSAPublicKey
) -> Claim:
    """Check a call from beginning to end; `received` is in Unix seconds.

    Raises:
        CallRejected: it is not Copernica's, or not for these accounts.
    """
    claim = examine(method, target, headers, body, received, policy)
    claim.verify(key)
    return claim


def examine(
    method: bytes, target: bytes, headers: "Headers | HeaderFields", body: bytes, received: float, policy: Policy
) -> Claim:
    """Check everything about a call that needs no key, cheapest checks first; `received` is in Unix seconds.

    Raises:
        CallRejected: it is not Copernica's, or not for these accounts.
    """
    fields = headers if isinstance(headers, HeaderFields) else HeaderFields.from_pairs(headers)
    signature_header, date_header, host, account, digest = fields.required()
    rest, signature = _split(signature_header)
    parameters = _parameters(rest)

    date = _date(date_header)
    if date < received - policy.max_age:
        raise CallRejected(Reason.TOO_OLD)
    if date > received + policy.max_age:
        raise CallRejected(Reason.TOO_NEW)
    if policy.hosts and not policy.hosts & {host.lower(), _without_port(host.lower())}:
        raise CallRejected(Reason.WRONG_HOST, host)
    account = spelled(account)
    if account not in policy.accounts:
        raise CallRejected(Reason.WRONG_ACCOUNT, account)
    _check_digest(digest, body)
    fault, key_id = parameters.fault, parameters.key_id
    if fault is not None:
        raise CallRejected(fault, key_id.encode() if fault is Reason.BAD_KEY_ID else b"")

    parts = fields.all_single(parameters.names)
    parts.insert(parameters.target_at, b"%b %b" % (method.lower(), target))
    signed = parameters.template % tuple(parts)
    return Claim(account.decode(), key_id, parameters.algorithm, date, signed, signature)


class Identity(NamedTuple):
    """Which key a call names, and a digest of everything that its signature is judged by.

    Two calls of the same digest have the same fate. As long as a call is unverified this is what it is known by:
    its delivery id is that of anybody who has seen the signature and sends it with something else.
    """

    key_id: str
    digest: bytes


#: Bytes of `Identity.digest`: of a SHA-256, as many as keep anybody from finding a second call for it.
IDENTITY_SIZE = 16


def identity(target: bytes, headers: Headers, body: bytes) -> Identity:
    """What the signature of a call will be judged by, whether or not that is well-formed."""
    fields = HeaderFields.from_pairs(headers)
    try:
        rest, signature = _split(fields.values.get(b"signature", b""))
        parameters = _parameters(rest)
    except CallRejected:
        key_id, algorithm, signature, names = "", "", b"", tuple(sorted(fields.values))
    else:
        key_id, algorithm, names = parameters.key_id, parameters.algorithm, parameters.names
    digest = hashlib.sha256()
    covered = (part for name in names for part in (name, fields.values.get(name, b"")))
    for part in (key_id.encode(), algorithm.encode(), signature, target, body, *covered):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return Identity(key_id, digest.digest()[:IDENTITY_SIZE])


class _Parameters(NamedTuple):
    """What a Signature header says apart from the signature.

    `template` makes the signed text from the values of the headers `names`, with the request line at `target_at`.
    `fault` is what makes them unacceptable, if anything.
    """

    key_id: str
    algorithm: str
    names: tuple[bytes, ...]
    target_at: int
    template: bytes
    fault: Reason | None


def _split(value: bytes) -> tuple[bytes, bytes]:
    """The other parameters of a Signature header, and the signature itself."""
    at = value.rfind(_LAST)
    if at >= 0 and value.find(b'"', at + len(_LAST)) == len(value) - 1 < MAX_SIGNATURE_HEADER:
        # It is the last parameter, as in nearly all calls.
        return value[:at], _signature(value[at + len(_LAST) : -1])
    match = _SIGNATURE.search(value)
    if match is None or len(value) > MAX_SIGNATURE_HEADER:
        raise CallRejected(Reason.BAD_SIGNATURE_HEADER)
    # What is on either side is read as one, so a second signature there is noticed.
    return value[: match.start()] + b" " + value[match.end() :], _signature(match[1])


def _signature(value: bytes) -> bytes:
    """The signature itself. The header may have been folded inside it, as in the documentation's own example."""
    try:
        return _base64(value, Reason.BAD_SIGNATURE_HEADER)
    except CallRejected:
        unfolded = value.translate(None, _FOLDS)
        if unfolded == value:
            raise
        return _base64(unfolded, Reason.BAD_SIGNATURE_HEADER)


@lru_cache(maxsize=256)  # all but the signature is the same in nearly all calls
def _parameters(rest: bytes) -> _Parameters:
    """Read the other parameters. A fault in their form is raised; one in their meaning is noted for later."""
    parameters: dict[bytes, bytes] = {}
    at = 0
    while match := _PARAMETER.match(rest, at):
        name, quoted, bare = match.groups()
        if name.lower() in parameters or name.lower() == b"signature":
            raise CallRejected(Reason.REPEATED)
        parameters[name.lower()] = bare if quoted is None else quoted
        at = match.end()
    if rest[at:].strip(b" \t\r\n,") or not parameters.keys() >= {b"keyid", b"algorithm", b"headers"}:
        raise CallRejected(Reason.BAD_SIGNATURE_HEADER)
    covered = tuple(parameters[b"headers"].lower().split())
    key_id = parameters[b"keyid"].decode("latin-1").lower()
    algorithm = parameters[b"algorithm"].decode("latin-1").lower()
    fault = None
    if not REQUIRED.issubset(covered):
        fault = Reason.NOT_COVERED
    elif len(set(covered)) != len(covered):
        fault = Reason.REPEATED
    elif len(key_id) > MAX_KEY_ID or not _KEY_ID.fullmatch(key_id):
        fault = Reason.BAD_KEY_ID
    elif algorithm not in ALGORITHMS:
        fault = Reason.BAD_ALGORITHM
    names = tuple(name for name in covered if name != _TARGET)
    target_at = covered.index(_TARGET) if _TARGET in covered else 0
    template = b"\n".join(name.replace(b"%", b"%%") + b": %b" for name in covered)
    return _Parameters(key_id, algorithm, names, target_at, template, fault)


@lru_cache(maxsize=1024)  # calls of one second have the same
def _date(value: bytes) -> int:
    parsed = parsedate_tz(value.decode("latin-1")) if len(value) <= MAX_DATE else None
    if parsed is None or parsed[9] is None:
        raise CallRejected(Reason.BAD_DATE)
    try:
        seconds = int(mktime_tz(parsed))
    except (ValueError, OverflowError):
        raise CallRejected(Reason.BAD_DATE) from None
    if not 0 <= seconds < 2**32:  # what a delivery id can hold: until the year 2106
        raise CallRejected(Reason.BAD_DATE)
    return seconds


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host


def _check_digest(value: bytes, body: bytes) -> None:
    """Every strong digest must match, and there must be at least one; each algorithm may occur once."""
    if value[:8].lower() == b"sha-256=" and b"," not in value:  # the only digest, as in nearly all calls
        made = hashlib.sha256(body).digest()
        # Anybody can make a digest, so how long it takes to compare them tells nothing.
        if value[8:] != binascii.b2a_base64(made, newline=False) and made != _base64(value[8:], Reason.BAD_DIGEST):
            raise CallRejected(Reason.WRONG_DIGEST)
        return
    strong: set[bytes] = set()
    for part in value.split(b",", MAX_DIGESTS):
        match = _DIGEST.fullmatch(part)
        if match is None:
            raise CallRejected(Reason.BAD_DIGEST)
        name = match[1].lower()
        algorithm = DIGESTS.get(name)
        if algorithm is None:
            continue
        if name in strong:  # hashing the body once more for each would make one call as dear as a hundred
            raise CallRejected(Reason.REPEATED)
        strong.add(name)
        if not hmac.compare_digest(algorithm(body).digest(), _base64(match[2], Reason.BAD_DIGEST)):
            raise CallRejected(Reason.WRONG_DIGEST)
    if not strong:
        raise CallRejected(Reason.BAD_DIGEST)


def _base64(value: bytes, reason: Reason) -> bytes:
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except binascii.Error:
        raise CallRejected(reason) from None
