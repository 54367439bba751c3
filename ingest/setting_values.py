"""The kinds of values that settings have: how each is read from text, and what may be wrong with it."""

import re
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import idna
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from ingest import database_url, password_hash
from ingest.mail_url import MailURL
from ingest.redis_url import CA, NO_VERIFY, VERIFY, RedisURL, place

LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], StringConstraints(to_lower=True, strip_whitespace=True)
]
LogFormat = Annotated[Literal["text", "json"], StringConstraints(to_lower=True, strip_whitespace=True)]


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


CommaList = Annotated[tuple[str, ...], BeforeValidator(_split)]


def _known_redis(url: str) -> str:
    RedisURL.read(url)
    return url


RedisAddress = Annotated[str, AfterValidator(_known_redis)]


#: Stream servers that can be named: each costs every drain a question in every turn.
MOST_SERVERS = 16


def _split_servers(value: object) -> object:
    """Divided at the commas before a scheme: those of Sentinels' hosts, and of passwords, stay."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip(" ,\n") for part in re.split(r",\s*(?=[A-Za-z+]+://)", value) if part.strip(" ,\n"))


def _known_servers(urls: tuple[str, ...]) -> tuple[str, ...]:
    if len(urls) > MOST_SERVERS:
        raise ValueError(f"it names {len(urls)} servers, and {MOST_SERVERS} are the most")
    named: set[str] = set()
    for number, url in enumerate(urls, 1):
        hosts = urlsplit(url).netloc.rpartition("@")[2]
        if "," in hosts and "+sentinel://" not in url.lower():
            raise ValueError("write each server as a whole URL: redis://host:6379/0,redis://other:6379/0")
        try:
            RedisURL.read(url)
        except ValueError as error:
            raise ValueError(f"of number {number}, {error}") from None
        if place(url) in named:
            raise ValueError(f"it names {place(url)} twice")
        named.add(place(url))
    return urls


RedisAddresses = Annotated[tuple[str, ...], BeforeValidator(_split_servers), AfterValidator(_known_servers)]


def _redis_tls(mode: str) -> str:
    if mode in (VERIFY, NO_VERIFY) or (mode.startswith(CA) and mode.removeprefix(CA)):
        return mode
    raise ValueError("write verify, no-verify, or ca:/path/to/ca.pem")


RedisTLS = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_redis_tls)]
DatabaseAddress = Annotated[str, AfterValidator(database_url.read)]


def _plain_path(path: str) -> str:
    if not path.startswith("/") or path != path.strip() or any(c in path for c in "?#%{} "):
        raise ValueError("it should be a plain path that begins with a slash")
    return path.rstrip("/")


def _yes_or_no(value: object) -> object:
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if word not in ("yes", "no", "on", "off"):  # the latter as other settings have it, and what `True` becomes
        raise ValueError("write yes or no")
    return word in ("yes", "on")


def _without_brackets(host: object) -> object:
    """An IPv6 address as it is, also where somebody has copied it from a URL."""
    plain = host.strip() if isinstance(host, str) else host
    return plain[1:-1] if isinstance(plain, str) and plain.startswith("[") and plain.endswith("]") else plain


ListeningHost = Annotated[str, BeforeValidator(_without_brackets)]
YesOrNo = Annotated[bool, BeforeValidator(_yes_or_no)]
PlainPath = Annotated[str, AfterValidator(_plain_path)]


def _names_of_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        if meant := _meant_host(host):
            raise ValueError(f"{host!r} is never the Host of a call; {meant}")
    return tuple(host.lower() for host in hosts)


def _meant_host(host: str) -> str:
    """What to write instead of a name that no Host header has; empty if it can have this one."""
    name = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://|^//", "", host)
    name = re.split(r"[/?#\\]", name.rpartition("@")[2])[0].rstrip(".").lower()
    name = re.sub(r":(?:80|443)?$", "", name)  # of the usual ports, a Host header says nothing
    if "*" in name:
        return "write each name by itself, or none at all for any"
    if not name.isascii():
        with suppress(UnicodeError):
            name = idna.encode(name.partition(":")[0]).decode() + name[len(name.partition(":")[0]) :]
    if not _HOST.fullmatch(name):
        return "write hooks.example.nl"
    return "" if name == host.lower() else f"write {name}"


_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
HostNames = Annotated[CommaList, AfterValidator(_names_of_hosts)]


def _named_accounts(accounts: tuple[str, ...]) -> tuple[str, ...]:
    for name in accounts:
        if not re.fullmatch(r"((account|environment)[-_])?[0-9]+", name, re.IGNORECASE):
            raise ValueError(f"{name!r} is not a valid account; write account-1234 or environment-12")
    return accounts


Accounts = Annotated[CommaList, AfterValidator(_named_accounts)]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("there is no such time zone; write UTC or Europe/Amsterdam") from None
    return name


ZoneName = Annotated[str, AfterValidator(_known_zone)]


def _time_of_day(text: str) -> str:
    if text != "off" and not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError("write a time of day in UTC, such as 04:00, or off")
    return text


TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]


def address_and_port(server: str) -> tuple[str, int]:
    """A resolver's address and port from `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1` or `[2001:db8::1]:53`.

    Raises:
        ValueError: it is none of these.
    """
    host, port = server, "53"
    if server.startswith("[") or server.count(":") == 1:
        host, _, port = server.rpartition(":")
    return str(ip_address(host.strip("[]"))), int(port)


def _addresses(servers: tuple[str, ...]) -> tuple[str, ...]:
    for server in servers:
        try:
            address_and_port(server)
        except ValueError:
            raise ValueError(f"{server!r} is not a resolver; write 192.0.2.1 or 192.0.2.1:53") from None
    return servers


Resolvers = Annotated[CommaList, AfterValidator(_addresses)]


def _one_word(token: str | None) -> str | None:
    token = (token or "").strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("it should be one word, as it was given to you")
    return token or None


Token = Annotated[str | None, AfterValidator(_one_word)]


def _none_if_off(port: object) -> object:
    return None if isinstance(port, str) and port.strip().lower() == "off" else port


MetricsPort = Annotated[Annotated[int, Field(ge=1, le=65535)] | None, BeforeValidator(_none_if_off)]

#: A password that can be tried out in the time between two looks at the log protects nothing.
SHORTEST_PASSWORD = 12
#: Fewest different characters of it.
FEWEST_SIGNS = 5
#: Characters of what signs sessions: it can be guessed at home, without anybody noticing.
SHORTEST_SECRET = 32


def good_password(password: str | None) -> str | None:
    """A password, or its hash, as it is.

    Raises:
        ValueError: it protects nothing, or nobody could type it.
    """
    if password is None:
        return None
    if password_hash.is_meant(password):
        password_hash.PasswordHash.read(password)
        return password
    if password != password.strip():
        raise ValueError("it begins or ends with a blank or a line end, which nobody would type")
    if len(password) < SHORTEST_PASSWORD:
        raise ValueError(f"it should have {SHORTEST_PASSWORD} characters or more")
    if len(set(password)) < FEWEST_SIGNS:
        raise ValueError(f"it should have {FEWEST_SIGNS} different characters or more")
    return password


def _good_secret(secret: str | None) -> str | None:
    if secret and (len(secret) < SHORTEST_SECRET or len(set(secret)) < FEWEST_SIGNS):
        raise ValueError(f"it should have {SHORTEST_SECRET} random characters or more: openssl rand -base64 32")
    return secret


SigningSecret = Annotated[str | None, AfterValidator(_one_word), AfterValidator(_good_secret)]
Password = Annotated[str | None, AfterValidator(good_password)]


def _header_name(name: str | None) -> str | None:
    if name is not None and not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise ValueError("write the name of a header, such as X-Forwarded-User")
    return name


HeaderName = Annotated[str | None, AfterValidator(_header_name)]


def _networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        try:
            ip_network(network)
        except ValueError:
            raise ValueError(f"{network!r} is not an address or a network; write 10.0.0.7 or 10.0.0.0/8") from None
    return networks


Networks = Annotated[CommaList, AfterValidator(_networks)]


def _plain_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        plain = False
    if not plain or not url.isprintable() or any(sign in url for sign in "@?# "):
        raise ValueError("write https://host/path, without a password and without a query")
    return url


def _secret_url(url: str) -> str:
    """One that may be as secret as a password, and is not shown."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise ValueError("write https://host/path, as the receiver shows it")
    return url


SecretURL = Annotated[str, AfterValidator(_secret_url)]


def _mail_route(url: str) -> str:
    MailURL.read(url)
    return url


MailRoute = Annotated[str, AfterValidator(_mail_route)]
PlainURL = Annotated[str, AfterValidator(_plain_url)]
