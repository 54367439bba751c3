"""Copernica's public keys: DKIM records in DNS, looked up when needed and never pinned, since they rotate monthly.

A name below `copernica.com` is looked up once for all who wait for it, remembered for as long as DNS says (within
limits), and looked up again when a signature fails with the key we have, for it may have been replaced. A name
that does not exist is rejected. When DNS gives no answer at all, no call is rejected for it: a key that was valid
stays so for a while, and for a key never seen the caller gets `KeyUnavailable` and keeps the call for later.

Lookups are limited in number and in time, so a flood of invented names holds up nothing but itself.
"""

import asyncio
import base64
import binascii
import json
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ingest.copernica.events import DAY
from ingest.copernica.signature import MIN_KEY_BITS
from ingest.errors import CallRejected, KeyUnavailable, Reason, SettingsError

#: Fewest and most seconds that an answer counts, whatever its TTL says: no lookup per call, and no day-old keys.
TTL_MIN = 60
TTL_MAX = 3600
#: Seconds that "there is no such name" counts: a new key may be published at any time.
ABSENT_TTL = 60
#: Seconds that a failed lookup counts, so that not every call asks a resolver in trouble.
FAILED_TTL = 5
#: Seconds that a valid key may still be used when DNS has stopped answering: a week, of a life of a month.
STALE = 7 * DAY
#: Seconds between two lookups of such a key.
STALE_STEP = 60
#: Seconds that a key which was replaced is still valid, for calls that were on their way.
PREVIOUS = 300
#: Seconds between two lookups of a name because a signature failed with the key we have. A forger can use up these
#: lookups, and a replaced key then goes unnoticed for as long, so this is short.
RENEW_EVERY = 10
#: Seconds that one lookup may take: a call waits for it.
LOOKUP_TIMEOUT = 3.0
#: Bytes of an answer over UDP: what every network lets through, and enough for a key of 4096 bits.
EDNS_PAYLOAD = 1232
#: Most lookups at once, and most names waiting for one of those places; any further name is `KeyUnavailable`.
LOOKUPS = 16
LOOKUPS_WAITING = 64
#: Most names remembered, valid and failed ones apart, so that invented names cannot push out real ones.
KEYS_MAX = 256
FAILURES_MAX = 4096


class Records(NamedTuple):
    """The TXT records at a name, and the seconds for which they may be remembered."""

    texts: Sequence[bytes]
    ttl: int


class Source(Protocol):
    """Where TXT records come from."""

    async def records(self, name: str) -> Records:
        """The records at a name; none if there is no such name.

        Raises:
            KeyUnavailable: the source does not answer.
        """


class DnsSource:
    """The domain name system, through given servers (address and port) or the machine's own."""

    def __init__(self, servers: Sequence[tuple[str, int]] = ()) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        if servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in servers]
        self._resolver.use_edns(0, 0, EDNS_PAYLOAD)
        self._resolver.lifetime = LOOKUP_TIMEOUT
        self._resolver.timeout = LOOKUP_TIMEOUT / 2

    async def records(self, name: str) -> Records:
        """See `Source`."""
        try:
            answer = await self._resolver.resolve(name + ".", dns.rdatatype.TXT, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return Records([], ABSENT_TTL)
        except (dns.exception.DNSException, OSError) as error:
            raise KeyUnavailable(f"DNS gives no answer about {name} ({type(error).__name__}).") from None
        ttl = answer.rrset.ttl if answer.rrset is not None else ABSENT_TTL
        return Records([b"".join(record.strings) for record in answer], ttl)


class FileSource:
    """A JSON file of names and their DKIM records: for tests, development and closed networks."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            SettingsError: it cannot be read, or is not such a file.
        """
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise SettingsError(f"INGEST_KEYS={str(path)!r} cannot be read: {error}.") from None
        if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
            raise SettingsError(f"INGEST_KEYS={str(path)!r} should be a JSON object of names and DKIM records.")
        self._texts: Mapping[str, bytes] = {name.lower(): text.encode() for name, text in content.items()}

    async def records(self, name: str) -> Records:
        """See `Source`."""
        text = self._texts.get(name)
        return Records([] if text is None else [text], TTL_MAX)


@dataclass(slots=True)
class _Good:
    """A key that DNS has confirmed; times are on the monotonic clock."""

    key: RSAPublicKey
    fresh_until: float
    #: When DNS last confirmed it.
    confirmed: float
    #: When it was last looked up because a signature failed.
    renewed: float = -math.inf
    #: The key before this one, and until when its signatures are accepted.
    previous: RSAPublicKey | None = None
    previous_until: float = -math.inf


class KeyRing:
    """The keys we know, and how to get others."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._good: OrderedDict[str, _Good] = OrderedDict()
        self._failed: OrderedDict[str, tuple[float, Reason | str]] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[RSAPublicKey]] = {}
        self._places = asyncio.Semaphore(LOOKUPS)

    def fresh(self, name: str) -> RSAPublicKey | None:
        """The key at a name, if it is known and need not be looked up, as for nearly every call."""
        good = self._good.get(name)
        return good.key if good is not None and time.monotonic() < good.fresh_until else None

    async def get(self, name: str) -> RSAPublicKey:
        """The key at a name.

        Raises:
            CallRejected: there is none, or none that can be used.
            KeyUnavailable: DNS does not answer at the moment.
        """
        if key := self.fresh(name):
            return key
        try:
            self._raise_if_failed(name)
            return await self._look_up(name)
        except KeyUnavailable:
            good = self._good.get(name)
            if good is not None and time.monotonic() < good.confirmed + STALE:
                return good.key
            raise

    def previous(self, name: str) -> RSAPublicKey | None:
        """The key that was replaced a moment ago: calls that it signed may still be on their way."""
        good = self._good.get(name)
        return good.previous if good is not None and time.monotonic() < good.previous_until else None

    async def renewed(self, name: str, failed: RSAPublicKey) -> RSAPublicKey | None:
        """The key that has replaced one with which a signature failed; None if that is still the current one.

        Raises:
            CallRejected: there is no key any more.
            KeyUnavailable: DNS does not answer at the moment.
        """
        good = self._good.get(name)
        if good is not None and good.key is not failed:
            return good.key  # another call has found it
        if good is None or not self.may_renew(name):
            return None
        good.renewed = time.monotonic()
        try:
            key = await self._look_up(name)
        except KeyUnavailable:
            good.renewed = time.monotonic() - RENEW_EVERY + FAILED_TTL
            raise
        return None if key.public_numbers() == failed.public_numbers() else key

    def may_renew(self, name: str) -> bool:
        """Whether a failed signature justifies a lookup, or waiting for one that is in progress."""
        good = self._good.get(name)
        return good is None or name in self._lookups or time.monotonic() >= good.renewed + RENEW_EVERY

    def _raise_if_failed(self, name: str) -> None:
        failed = self._failed.get(name)
        if failed is None:
            return
        until, why = failed
        if time.monotonic() < until:
            # Always a new exception: one that is raised repeatedly keeps the frames of all its callers.
            raise CallRejected(why) if isinstance(why, Reason) else KeyUnavailable(why)
        del self._failed[name]

    async def _look_up(self, name: str) -> RSAPublicKey:
        task = self._lookups.get(name)
        if task is None:
            if len(self._lookups) >= LOOKUPS + LOOKUPS_WAITING:
                raise KeyUnavailable("Too many names are being looked up.")
            task = asyncio.create_task(self._look_up_alone(name))
            self._lookups[name] = task
            task.add_done_callback(lambda _: self._lookups.pop(name, None))
        return await asyncio.shield(task)  # a caller who is cancelled must not end it for the others

    async def _look_up_alone(self, name: str) -> RSAPublicKey:
        try:
            async with self._places:
                records = await self._source.records(name)
            key = usable(records.texts)
        except KeyUnavailable as error:
            self._remember_failure(name, str(error), FAILED_TTL)
            self._extend(name)
            raise
        except CallRejected as error:
            self._good.pop(name, None)
            self._remember_failure(name, error.reason, ABSENT_TTL)
            raise
        now = time.monotonic()
        good = _Good(key, now + min(max(records.ttl, TTL_MIN), TTL_MAX), now)
        if before := self._good.pop(name, None):
            good.renewed = before.renewed
            if before.key.public_numbers() == key.public_numbers():
                good.key, good.previous, good.previous_until = before.key, before.previous, before.previous_until
            else:
                good.previous, good.previous_until = before.key, now + PREVIOUS
        self._good[name] = good
        self._failed.pop(name, None)
        while len(self._good) > KEYS_MAX:
            self._good.popitem(last=False)
        return good.key

    def _extend(self, name: str) -> None:
        """DNS gives no answer: go on with a valid key, and let no call wait for the next attempt."""
        good = self._good.get(name)
        now = time.monotonic()
        if good is not None and now < good.confirmed + STALE:
            good.fresh_until = min(now + STALE_STEP, good.confirmed + STALE)

    def _remember_failure(self, name: str, why: Reason | str, seconds: float) -> None:
        self._failed[name] = time.monotonic() + seconds, why
        self._failed.move_to_end(name)
        while len(self._failed) > FAILURES_MAX:
            self._failed.popitem(last=False)


def usable(texts: Sequence[bytes]) -> RSAPublicKey:
    """The key in the TXT records at a name: the first usable one, if there are several.

    Raises:
        CallRejected: none is usable; the reason is that of the last.
    """
    rejected = CallRejected(Reason.UNKNOWN_KEY)
    for text in texts:
        try:
            return parse_dkim(text)
        except CallRejected as error:
            rejected = error
    raise rejected


def parse_dkim(text: bytes) -> RSAPublicKey:
    """Read a DKIM record: tags separated by `;`, where `v`, `k` and blanks are optional (RFC 6376, section 3.6.1).

    Raises:
        CallRejected: it is revoked (an empty `p`), not an RSA key, too short, or not a DKIM record.
    """
    tags: dict[str, str] = {}
    for part in text.decode("ascii", "replace").split(";"):
        name, separator, value = part.partition("=")
        if separator:
            tags.setdefault(name.strip(), "".join(value.split()))
    if "p" not in tags or tags.get("v", "DKIM1") != "DKIM1" or tags.get("k", "rsa") != "rsa":
        raise CallRejected(Reason.BAD_KEY)
    if not tags["p"]:
        raise CallRejected(Reason.REVOKED_KEY)
    try:
        key = load_der_public_key(base64.b64decode(tags["p"], validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise CallRejected(Reason.BAD_KEY) from None
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise CallRejected(Reason.BAD_KEY)
    return key
