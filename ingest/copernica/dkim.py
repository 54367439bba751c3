"""DKIM records: the form in which Copernica publishes its public keys in DNS (RFC 6376, section 3.6.1).

RFC 8301 says which keys and hashes may still be used. A record that breaks a rule is no key for us, even where
reading it would be possible: whoever publishes keys for a living publishes them right.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ingest.copernica.signature import MIN_KEY_BITS
from ingest.errors import CallRejected, Reason

#: Most bits of an RSA key. Verifying with a longer one takes milliseconds, and nobody has one.
MAX_KEY_BITS = 8192
#: Smallest and largest public exponent: RSA needs an odd one above 1, and a large one only costs time.
MIN_EXPONENT, MAX_EXPONENT = 3, 2**32
#: Most bytes of a record; a key of `MAX_KEY_BITS` takes 1,400.
MAX_RECORD = 4096
#: Services of the tag `s` that a key may be limited to: any, or mail, whose keys Copernica's webhooks share.
SERVICES = frozenset({"*", "email"})
#: The hash of the tag `h` that must be allowed; `sha1` alone is out of use (RFC 8301).
HASH = "sha256"


class Key(NamedTuple):
    """A public key, and whether its record says that its owner is only testing (`t=y`)."""

    public: RSAPublicKey
    testing: bool = False


def usable(texts: Sequence[bytes]) -> Key:
    """The key in the TXT records at a name: the first usable one, if there are several.

    Raises:
        CallRejected: none is usable; the reason is that of the last.
    """
    reason = Reason.UNKNOWN_KEY
    for text in texts:
        try:
            return parse(text)
        except CallRejected as rejected:
            reason = rejected.reason
    raise CallRejected(reason)


def parse(text: bytes) -> Key:
    """Read a DKIM record.

    Raises:
        CallRejected: it is revoked (an empty `p`), not an RSA key, too short or too long, not for us, or not a
            DKIM record.
    """
    tags = _tags(text)
    if "p" not in tags or tags.get("v", "DKIM1") != "DKIM1" or tags.get("k", "rsa") != "rsa":
        raise CallRejected(Reason.BAD_KEY)
    if HASH not in _listed(tags, "h", HASH) or SERVICES.isdisjoint(_listed(tags, "s", "*")):
        raise CallRejected(Reason.BAD_KEY)
    if not tags["p"]:
        raise CallRejected(Reason.REVOKED_KEY)
    try:
        der = base64.b64decode(tags["p"], validate=True)
    except ValueError:  # binascii.Error, or a character that is not ASCII
        raise CallRejected(Reason.BAD_KEY) from None
    return Key(public_key(der), "y" in _listed(tags, "t", ""))


def _tags(text: bytes) -> Mapping[str, str]:
    """The tags of a record, without blanks; a name that occurs twice makes the whole list invalid."""
    if len(text) > MAX_RECORD:
        raise CallRejected(Reason.BAD_KEY)
    tags: dict[str, str] = {}
    for part in text.decode("ascii", "replace").split(";"):
        name, separator, value = part.partition("=")
        name = name.strip()
        if separator and name in tags:
            raise CallRejected(Reason.BAD_KEY)
        if separator:
            tags[name] = "".join(value.split())
    return tags


def _listed(tags: Mapping[str, str], name: str, default: str) -> list[str]:
    """The values of a tag that holds a list, in lower case."""
    return tags.get(name, default).lower().split(":")


def public_key(der: bytes) -> RSAPublicKey:
    """A key as it may be used.

    Raises:
        CallRejected: it is no RSA key, too short or too long, or has impossible numbers.
    """
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise CallRejected(Reason.BAD_KEY) from None
    if not isinstance(key, RSAPublicKey) or not MIN_KEY_BITS <= key.key_size <= MAX_KEY_BITS:
        raise CallRejected(Reason.BAD_KEY)
    numbers = key.public_numbers()
    odd = numbers.n % 2 and numbers.e % 2
    if not odd or not MIN_EXPONENT <= numbers.e <= MAX_EXPONENT:
        raise CallRejected(Reason.BAD_KEY)
    return key
