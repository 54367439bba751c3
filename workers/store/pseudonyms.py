"""Pseudonyms: what is stored in the place of addresses where `INGEST_PSEUDONYMISE` says so.

A pseudonym is a keyed hash (HMAC-SHA-256, of which 128 bits are kept: among a billion people, two having the same
is less likely than one in 10^20). The same person has the same one however the address is written, by the rule of
`ingest.copernica.addresses`, so events can be joined, searched, counted and erased by it. Without the key nobody
can tell whose it is; with the key, only by trying addresses.

A pseudonym of an e-mail address is one itself, in a domain that does not exist (RFC 2606). So whatever knows what
to do with addresses, does the same with pseudonyms.

The first key makes pseudonyms. Of the others only old ones are found: a person has another pseudonym from a
rotation on, and nobody can tell any more that both are one person's once the old key is gone.
"""

import hmac
from base64 import b32encode
from collections.abc import Sequence
from typing import Self

from ingest.copernica.addresses import canonical_ip, folded
from ingest.privacy_settings import IP, RECIPIENT
from ingest.settings import Settings

#: The domain of pseudonyms, and how one of an IP address begins.
DOMAIN, IP_PREFIX = "pseudonym.invalid", "ip-"
#: Bytes of the hash that are kept: 26 letters and digits.
SIZE = 16
#: Bytes of the hash by which a key is known without being told.
FINGERPRINT_SIZE = 8


class Pseudonyms:
    """Makes pseudonyms of addresses, by one or several keys."""

    def __init__(self, keys: Sequence[str], parts: Sequence[str], for_handlers: bool = True) -> None:
        """`parts` are `recipient`, `ip`, or both. Handlers get pseudonyms as well if it is `for_handlers`."""
        self._keys = [key.encode() for key in keys]
        self.parts = frozenset(parts)
        self.recipients, self.ips = RECIPIENT in parts, IP in parts
        self.for_handlers = for_handlers

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Those that the settings ask for, if they do.

        Raises:
            SettingsError: the key is not known here.
        """
        if not settings.pseudonymise:
            return None
        handlers = settings.pseudonymise_handlers == "on"
        return cls(settings.pseudonym_keys, settings.pseudonymise, handlers)

    @property
    def fingerprints(self) -> list[str]:
        """What each key is known by; nobody can tell the key from it."""
        return [hmac.digest(key, b"fingerprint", "sha256")[:FINGERPRINT_SIZE].hex() for key in self._keys]

    def address(self, address: str) -> str:
        """The pseudonym of an e-mail address; a pseudonym stays what it is."""
        return _of_address(self._keys[0], folded(address))

    def ip(self, ip: str) -> str:
        """The pseudonym of an IP address; a pseudonym stays what it is."""
        known = ip.strip()
        return known if known.startswith(IP_PREFIX) else IP_PREFIX + _hash(self._keys[0], b"ip", canonical_ip(ip))

    def aliases(self, address: str) -> list[str]:
        """The pseudonyms that an e-mail address has, or had: one for each key."""
        plain = folded(address)
        return list(dict.fromkeys(_of_address(key, plain) for key in self._keys)) if self.recipients else []

    @property
    def are_of_several_keys(self) -> bool:
        """Whether some of what is stored may be pseudonyms of older keys."""
        return len(self._keys) > 1


def is_pseudonym(address: str) -> bool:
    """Whether an e-mail address is a pseudonym."""
    return address.endswith(f"@{DOMAIN}")


def _of_address(key: bytes, plain: str) -> str:
    return plain if is_pseudonym(plain) else f"{_hash(key, b'address', plain)}@{DOMAIN}"


def _hash(key: bytes, kind: bytes, text: str) -> str:
    digest = hmac.digest(key, kind + b"\0" + text.encode("utf-8", "surrogatepass"), "sha256")
    return b32encode(digest[:SIZE]).decode().rstrip("=").lower()
