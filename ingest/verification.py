"""Whether a call is Copernica's: policy and keys together, for the endpoint and for late verification.

Nearly every call is judged at once, with a cached key. The others wait a moment for DNS; if it does not answer,
the call is kept as unverified, and the drain verifies it later (`workers.drain.late_verification`).
"""

from pathlib import Path

from ingest.copernica.public_keys import DnsSource, FileSource, KeyRing, Source
from ingest.copernica.signature import Claim, HeaderFields, Headers, Policy, examine
from ingest.errors import CallRejected, SettingsError
from ingest.settings import Settings, address_and_port


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

    def verified(self, claim: Claim) -> bool:
        """Whether a cached key proves the claim; False if a key must be looked up.

        Raises:
            CallRejected: the call is not Copernica's.
        """
        key = self._keys.fresh(claim.key_id)
        if key is None:
            return False
        try:
            claim.verify(key)
        except CallRejected:
            if previous := self._keys.previous(claim.key_id):
                claim.verify(previous)
                return True
            if self._keys.may_renew(claim.key_id):
                return False
            raise
        return True

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


def pack_headers(fields: HeaderFields) -> bytes:
    """Headers as one block of bytes, for a record whose headers are needed later: `name:value` lines."""
    return b"".join(b"%b:%b\r\n" % header for header in fields.values.items())


def unpack_headers(block: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs of name and value that `pack_headers` packed."""
    lines = (line.partition(b":") for line in block.split(b"\r\n") if line)
    return [(name, value) for name, _, value in lines]
