"""Who may look and who may act, as the settings say; what would let strangers in is refused before we listen."""

import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from ingest import password_hash
from ingest.console.sessions import Role
from ingest.errors import SettingsError
from ingest.password_hash import PasswordHash
from ingest.settings import Settings

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts for each request."""

    #: What those type who sign in, plain or hashed.
    passwords: Mapping[Role, str]
    #: The header that names people, and from which peers it and what else proxies say is believed.
    header: str | None
    proxies: tuple[IPv4Network | IPv6Network, ...]
    #: Those whom it names that may act; none: all.
    operators: frozenset[str]
    #: What signs sessions, and whether that outlasts this process.
    secret: bytes
    lasting: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say.

        Raises:
            SettingsError: they contradict each other, or would let strangers in.
        """
        by_role = {Role.OPERATOR: settings.console_password, Role.READER: settings.console_read_password}
        secret = settings.console_secret
        rules = cls(
            {role: password for role, password in by_role.items() if password is not None},
            settings.console_auth_header,
            tuple(map(ip_network, settings.console_proxies)),
            frozenset(settings.console_operators),
            secrets.token_bytes(32) if secret is None else secret.encode(),
            secret is not None,
        )
        rules.require_sense()
        if not rules.is_open:
            return rules
        rules.require_loopback(*addresses_of(settings.console_host))
        return rules

    @property
    def is_open(self) -> bool:
        """Whether everybody who can connect may look and act."""
        return not self.passwords and self.header is None

    def require_sense(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            SettingsError: it says what and what to do.
        """
        if self.header is not None and not self.proxies:
            raise SettingsError(
                "INGEST_CONSOLE_AUTH_HEADER is set, but INGEST_CONSOLE_PROXIES is not: anybody could send that "
                "header, so say which addresses are the proxy's."
            )
        if wide := next((one for one in self.proxies if one.prefixlen == 0), None):
            raise SettingsError(
                f"INGEST_CONSOLE_PROXIES={str(wide)!r} means everybody: write the addresses of your proxy."
            )
        if self.operators and self.header is None:
            raise SettingsError(
                "INGEST_CONSOLE_OPERATORS is set, but INGEST_CONSOLE_AUTH_HEADER is not: nobody would be named, "
                "so this would hold nobody back."
            )
        if self._are_equal():
            raise SettingsError(
                "INGEST_CONSOLE_PASSWORD and INGEST_CONSOLE_READ_PASSWORD are the same, so those who may only "
                "look could act: choose another one."
            )

    def require_loopback(self, *addresses: Address) -> None:
        """Refuse to be open to others than this machine.

        Raises:
            SettingsError: one of these is reached from elsewhere.
        """
        if beyond := next((one for one in addresses if not one.is_loopback), None):
            raise SettingsError(
                f"The console would be open to everybody who reaches {beyond}: set INGEST_CONSOLE_PASSWORD, or "
                "INGEST_CONSOLE_AUTH_HEADER and INGEST_CONSOLE_PROXIES, or leave INGEST_CONSOLE_HOST at 127.0.0.1."
            )

    def is_proxy(self, address: Address) -> bool:
        """Whether what a peer says of others is believed."""
        return any(address in network for network in self.proxies)

    def _are_equal(self) -> bool:
        first, second = self.passwords.get(Role.OPERATOR), self.passwords.get(Role.READER)
        if first is None or second is None:
            return False
        hashed = [one for one in (first, second) if password_hash.is_meant(one)]
        if len(hashed) != 1:  # of two hashes, nobody can say more
            return first == second
        (plain,) = {first, second} - set(hashed)
        return PasswordHash.read(hashed[0]).matches(plain)


def addresses_of(host: str) -> tuple[Address, ...]:
    """Each address that a name stands for; an empty one stands for all.

    Raises:
        SettingsError: it stands for none.
    """
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no name of a host"
        raise SettingsError(
            f"INGEST_CONSOLE_HOST={host!r} cannot be used: {why}; name an address of this machine."
        ) from None
    return tuple(plain_address(str(place[0])) for *_, place in found)


def plain_address(text: str) -> Address:
    """An address without its scope, and as IPv4 where it stands for one.

    Raises:
        ValueError: it is none.
    """
    found = ip_address(text.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
