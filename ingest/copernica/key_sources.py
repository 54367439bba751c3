"""Where Copernica's public keys come from: TXT records in DNS, or a file for tests and closed networks.

Answers are only taken from the resolver that was asked, to the port that asked, with the id and the question that
were sent; anything else that arrives is passed over (dnspython does that). So whoever cannot read the traffic must
guess some 30 random bits within the moment of one lookup. Letter case is not randomised (0x20): many resolvers do
not keep it. Whoever can read the way to the resolver can answer in its place: let it run on the same machine or
network, and validate DNSSEC; `ingest check` shows whether it says that it does.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.nameserver
import dns.rdatatype
import dns.resolver

from ingest.errors import KeyUnavailable, SettingsError

#: Seconds that one lookup may take, over all servers and attempts: a call waits for it …
LOOKUP_TIMEOUT = 2.0
#: … and that one server may take, so that another one can be asked, or the same one again.
SERVER_TIMEOUT = 1.0
#: Bytes of an answer over UDP: what every network lets through, and enough for a key of 4096 bits.
EDNS_PAYLOAD = 1232
#: Seconds for which "there is no such name" may be remembered: a new key may be published at any time.
ABSENT_TTL = 60
#: Seconds for which keys from a file may be remembered.
FILE_TTL = 3600
#: The zone whose own records tell whether DNS works at all; resolvers answer this from memory.
CONTROL_ZONE = "copernica.com"


class Records(NamedTuple):
    """The TXT records at a name, and the seconds for which they may be remembered.

    `authentic` is what the resolver says: that it has validated them by DNSSEC.
    """

    texts: Sequence[bytes]
    ttl: int
    authentic: bool = False


class Source(Protocol):
    """Where TXT records come from."""

    async def records(self, name: str) -> Records:
        """The records at a name; none if there is no such name.

        Raises:
            KeyUnavailable: the source does not answer.
        """

    async def answers(self) -> bool:
        """Whether the source answers at all, whatever became of a certain name."""


class DnsSource:
    """The domain name system, through given servers (address and port) or the machine's own."""

    def __init__(self, servers: Sequence[tuple[str, int]] = ()) -> None:
        """Without `servers`, read the machine's configuration.

        Raises:
            SettingsError: it has none.
        """
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        except dns.resolver.NoResolverConfiguration:
            raise SettingsError(
                "This machine names no DNS resolvers (/etc/resolv.conf): name some in INGEST_DNS_SERVERS."
            ) from None
        if servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in servers]
        self._resolver.use_edns(0, 0, EDNS_PAYLOAD)
        self._resolver.set_flags(
            dns.flags.RD | dns.flags.AD
        )  # AD in a question asks for AD in the answer (RFC 6840)
        self._resolver.lifetime = LOOKUP_TIMEOUT
        self._resolver.timeout = SERVER_TIMEOUT

    async def records(self, name: str) -> Records:
        """See `Source`."""
        try:
            answer = await self._resolver.resolve(name + ".", dns.rdatatype.TXT, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return Records([], ABSENT_TTL)
        except (dns.exception.DNSException, OSError) as error:
            raise KeyUnavailable(f"DNS gives no answer about {name} ({type(error).__name__}).") from None
        ttl = answer.rrset.ttl if answer.rrset is not None else ABSENT_TTL
        authentic = bool(answer.response.flags & dns.flags.AD)
        return Records([b"".join(record.strings) for record in answer], ttl, authentic)

    async def answers(self) -> bool:
        """See `Source`."""
        try:
            await self._resolver.resolve(CONTROL_ZONE + ".", dns.rdatatype.SOA, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return True
        except (dns.exception.DNSException, OSError):
            return False
        return True


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
            why = getattr(error, "strerror", None) or "it is no JSON"
            raise SettingsError(
                f"INGEST_KEYS={str(path)!r} cannot be read: {why}; name a JSON file of key ids and their DKIM "
                "records, or write dns."
            ) from None
        if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
            raise SettingsError(f"INGEST_KEYS={str(path)!r} should be a JSON object of names and DKIM records.")
        #: The records by name.
        self.texts: Mapping[str, bytes] = {name.lower(): text.encode() for name, text in content.items()}

    async def records(self, name: str) -> Records:
        """See `Source`."""
        text = self.texts.get(name)
        return Records([] if text is None else [text], FILE_TTL)

    async def answers(self) -> bool:
        """See `Source`."""
        return True
