"""Whether a call is Copernica's: policy and keys together, for the endpoint and for late verification.

Nearly every call is judged at once, with a cached key. The others wait a moment for DNS; if it does not answer,
the call is kept as unverified, and the drain verifies it later (`workers.drain.late_verification`).
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ingest.copernica import dkim
from ingest.copernica.header_fields import HeaderFields, Headers
from ingest.copernica.key_sources import DnsSource, FileSource, Source
from ingest.copernica.public_keys import KeyRing, KnownKey
from ingest.copernica.signature import Claim, Policy, examine
from ingest.errors import CallRejected, Reason, SettingsError
from ingest.setting_values import address_and_port
from ingest.settings import Settings

#: A public key in DER, and when DNS last confirmed it (Unix seconds).
DatedKey = tuple[bytes, float]


class Verifier:
    """Verifies calls; one per process, because it caches the keys."""

    def __init__(self, policy: Policy, keys: KeyRing) -> None:
        self._policy = policy
        self._keys = keys

    @classmethod
    def from_settings(cls, settings: Settings) -> "Verifier":
        """A verifier for the accounts, hosts, keys and maximum age in the settings.

        Raises:
            SettingsError: no account is named, or the file with keys cannot be read.
        """
        if not settings.accounts:
            raise SettingsError(
                "INGEST_ACCOUNTS is not set: name the Copernica accounts whose calls are accepted "
                "(account-1234; separate several with commas), or set INGEST_VERIFY=off to accept any call."
            )
        return cls(
            Policy.from_settings(settings.accounts, settings.hosts, settings.max_age),
            KeyRing(key_source(settings)),
        )

    def examine(self, target: bytes, headers: Headers | HeaderFields, body: bytes, received_at: int) -> Claim:
        """Check everything that needs no key; `received_at` is in µs since 1970.

        Raises:
            CallRejected: the call is not Copernica's.
        """
        return examine(b"POST", target, headers, body, received_at / 1e6, self._policy)

    def key_at_hand(self, claim: Claim) -> RSAPublicKey | None:
        """The key that a claim names, if it is cached and need not be looked up."""
        return self._keys.fresh(claim.key_id)

    def verified(self, claim: Claim, tried: RSAPublicKey | None = None) -> bool:
        """Whether a cached key proves the claim, other than one `tried` in vain; False if one must be looked up.

        Raises:
            CallRejected: the call is not Copernica's.
        """
        key = self.key_at_hand(claim)
        if key is None:
            return False
        try:
            if key is tried:
                raise CallRejected(Reason.WRONG_SIGNATURE)
            claim.verify(key)
        except CallRejected:
            if previous := self._keys.previous(claim.key_id):
                claim.verify(previous)
                return True
            if self._keys.may_renew(claim.key_id):
                return False
            raise
        return True

    async def look_up(self, key_id: str) -> None:
        """Make sure that the key of this name is known, or known not to be there.

        Raises:
            KeyUnavailable: neither can be found out now.
        """
        with suppress(CallRejected):
            await self._keys.get(key_id)

    async def watch_dns(self) -> None:
        """Find out again and again whether DNS answers at all, until cancelled; `dns_is_silent` tells."""
        await self._keys.watch()

    @property
    def dns_is_silent(self) -> bool:
        """Whether DNS gave no answer at all when that was found out last."""
        return self._keys.is_silent

    def known_names(self) -> set[str]:
        """The names of keys that DNS confirmed within the last days."""
        return {key.name for key in self._keys.known()}

    def known_keys(self) -> dict[str, DatedKey]:
        """Those keys by name, for other processes to learn."""
        now = time.time()
        return {key.name: (_der(key.key), now - key.age) for key in self._keys.known()}

    def withdrawn_keys(self) -> dict[str, float]:
        """The names whose key DNS has withdrawn, and when that was seen (Unix seconds)."""
        now = time.time()
        return {name: now - age for name, age in self._keys.withdrawn().items()}

    def learn(self, keys: Mapping[str, DatedKey]) -> None:
        """Take over keys that other processes know: they count while DNS gives no answer."""
        now = time.time()
        for name, (der, confirmed_at) in keys.items():
            with suppress(CallRejected):
                self._keys.learn([KnownKey(name, dkim.public_key(der), now - confirmed_at)])

    async def verify(self, claim: Claim) -> None:
        """Verify a claim, looking up its key if need be.

        Raises:
            CallRejected: the call is not Copernica's.
            KeyUnavailable: the key cannot be looked up now.
        """
        key = await self._keys.get(claim.key_id)
        try:
            claim.verify(key)
        except CallRejected:
            newer = await self._keys.renewed(claim.key_id, key)
            if newer is None:
                raise
            claim.verify(newer)


def key_source(settings: Settings) -> Source:
    """Where the keys come from, as the settings say: DNS or a file.

    Raises:
        SettingsError: the file with keys cannot be read.
    """
    if settings.keys == "dns":
        return DnsSource([address_and_port(server) for server in settings.dns_servers])
    return FileSource(Path(settings.keys))


def _der(key: RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
