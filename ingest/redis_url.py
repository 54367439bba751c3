"""`REDIS_URL`, read by our own rules before redis-py sees it.

redis-py hands every option of a URL to its connections, with two results: a wrong name is an error at the first
command, deep inside a running process, and a right one can change what commands return. So each option is in
one of the tables here, or refused.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

#: The schemes: plain, with TLS, by a Unix socket; and the same two for a primary that Sentinels know.
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
#: What the schemes end with that name Sentinels.
BY_SENTINEL = "+sentinel"
#: The port of a Sentinel, unless another one is given.
SENTINEL_PORT = 26379
#: The port of Redis, likewise.
PORT = 6379
#: Values of `INGEST_REDIS_TLS`: what it means by itself, that anybody may be at the other end, and how the one
#: begins that names a file of certificates.
VERIFY, NO_VERIFY, CA = "verify", "no-verify", "ca:"
#: How options say yes and no.
BOOLEANS = frozenset({"true", "false", "yes", "no", "1", "0", "t", "f", "y", "n"})
#: What is wrong with a URL that cannot be divided into its parts.
UNDIVIDED = "in a password write %2F for /, %3F for ?, %23 for # and %40 for @"
#: Options that redis-py knows, and that are ours to set: how long to wait, what to try again, the form of answers.
OURS = frozenset(
    {
        "decode_responses", "encoding", "encoding_errors", "health_check_interval", "legacy_responses", "lib_name",
        "lib_version", "max_connections", "protocol", "retry_on_error", "retry_on_timeout",
        "socket_connect_timeout", "socket_read_size", "socket_timeout", "timeout",
    }
)  # fmt: skip  # a list to be read across


def _number(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise ValueError("should be a number")
    return value


def _boolean(value: str) -> str:
    if value.lower() not in BOOLEANS:
        raise ValueError("should be True or False")
    return "True" if value.lower() in ("true", "yes", "1", "t", "y") else "False"


def _text(value: str) -> str:
    return value


def _one_word(value: str) -> str:
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("should be one word")
    return value


def _certificates(value: str) -> str:
    """As redis-py has it, or as Celery and Python do: `CERT_NONE`."""
    name = value.lower().removeprefix("cert_")
    if name not in ("none", "optional", "required"):
        raise ValueError("should be required, optional or none")
    return name


def _tls_version(value: str) -> str:
    """As the number of Python's `ssl.TLSVersion`, or as `1.2`."""
    numbers = {"1.2": str(int(ssl.TLSVersion.TLSv1_2)), "1.3": str(int(ssl.TLSVersion.TLSv1_3))}
    number = numbers.get(value, value)
    if number not in numbers.values():
        raise ValueError("should be 1.2 or 1.3")
    return number


def _yes(value: str) -> str:
    return "yes" if _boolean(value) == "True" else "no"


def _verify_flags(value: str) -> str:
    names = [name.strip() for name in value.strip("[]").split(",")]
    if not all(name in ssl.VerifyFlags.__members__ for name in names):
        raise ValueError("should be names of Python's ssl.VerifyFlags")
    return ",".join(names)


#: Options that mean the same to us as to redis-py, each with what reads its value; for every scheme …
ANYWHERE: Mapping[str, Callable[[str], str]] = {
    "db": _number,
    "username": _text,
    "password": _text,
    "client_name": _one_word,
}
#: … for a connection by TCP, …
BY_TCP: Mapping[str, Callable[[str], str]] = {"socket_keepalive": _boolean}
#: … and for one with TLS.
BY_TLS: Mapping[str, Callable[[str], str]] = {
    "ssl_ca_certs": _text,
    "ssl_ca_data": _text,
    "ssl_ca_path": _text,
    "ssl_cert_reqs": _certificates,
    "ssl_certfile": _text,
    "ssl_check_hostname": _boolean,
    "ssl_ciphers": _text,
    "ssl_exclude_verify_flags": _verify_flags,
    "ssl_include_verify_flags": _verify_flags,
    "ssl_keyfile": _text,
    "ssl_min_version": _tls_version,
    "ssl_password": _text,
}
#: For the connections to Sentinels: their own credentials, and whether they speak TLS as the primary does.
TO_SENTINELS: Mapping[str, Callable[[str], str]] = {
    "sentinel_password": _text,
    "sentinel_tls": _yes,
    "sentinel_username": _text,
}
# A host, and its port.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(?::([0-9]{1,5}))?", re.ASCII)
# What Sentinels accept as a primary's name, and the number of a database.
_PRIMARY = re.compile(r"/([A-Za-z0-9._-]+)(?:/([0-9]{0,9}))?/?")


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Who knows which server is the primary."""

    #: The primary's name there.
    primary: str
    #: A URL for redis-py for each of them.
    urls: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RedisURL:
    """A URL that redis-py understands as we do, and what was left out of it."""

    #: With Sentinels, the primary's name stands in the place of its host.
    url: str
    #: Options that were given and are ours to set.
    ignored: tuple[str, ...]
    sentinels: Sentinels | None = None

    @classmethod
    def read(cls, url: str) -> Self:
        """Read a URL as the setting has it.

        Raises:
            ValueError: it cannot be used; the text is the rest of a sentence, and shows nothing secret.
        """
        url = url.strip()
        scheme = url.partition("://")[0].lower()
        if "://" not in url or scheme not in SCHEMES:
            raise ValueError(
                "write redis://host:6379/0, rediss:// for TLS, unix:///path/to/socket, or "
                "redis+sentinel://host:26379,host:26379/name/0"
            )
        if not url.isprintable() or "#" in url:
            raise ValueError(UNDIVIDED)
        try:
            parts = urlsplit(url)
            port = None if scheme.endswith(BY_SENTINEL) else parts.port
        except ValueError:
            several = "several hosts are for Sentinels: write redis+sentinel://" if "," in url else UNDIVIDED
            raise ValueError(f"its host or its port cannot be read; {several}") from None
        if "@" in parts.query or ("@" in parts.path and parts.netloc):
            raise ValueError(UNDIVIDED)
        options, ignored = _options(scheme, parts.query)
        if scheme.endswith(BY_SENTINEL):
            return cls(*_by_sentinel(scheme.removesuffix(BY_SENTINEL), parts, options, ignored))
        if scheme == "unix":
            path = _socket(parts.path, parts.hostname)
        else:
            path = _database(parts.path)
            if not parts.hostname and port is not None:
                raise ValueError("its host is missing")
        return cls(f"{scheme}://{parts.netloc}{path}{_query(options)}", ignored)


def _query(options: Mapping[str, str]) -> str:
    return f"?{urlencode(options, quote_via=quote)}" if options else ""


def place(url: str) -> str:
    """Where a valid URL leads: `host:6379`, `host:6379/2`, `/path/to/socket`, `name@host:26379,host:26379`.

    By that its server is known. Nothing of how it is spoken to: no user, no password, no TLS.
    """
    parts = urlsplit(url.strip())
    scheme, hosts = parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()
    _, name, *behind = f"{unquote(parts.path)}/".split("/") if scheme != "unix" else ("", "")
    if scheme == "unix":
        named = parts.path
    elif scheme.endswith(BY_SENTINEL):
        named, name = f"{name}@{','.join(_with_port(host, SENTINEL_PORT) for host in hosts.split(','))}", behind[0]
    else:
        named = _with_port(hosts or "localhost", PORT)
    number = dict(parse_qsl(parts.query)).get("db") or name
    return named if int(number or 0) == 0 else f"{named}/{int(number)}"


def _with_port(host: str, port: int) -> str:
    return host if re.search(r":[0-9]+$", host) else f"{host.rstrip(':')}:{port}"


def speaks_tls(url: str) -> bool:
    """Whether connections to the server that a URL names are encrypted."""
    return url.strip().lower().startswith("rediss")


def is_without_tls(url: str, encrypted: str) -> bool:
    """Whether a URL leads without TLS to the host to which the other one leads with it."""
    one, other = urlsplit(url.strip()), urlsplit(encrypted.strip())
    return not speaks_tls(url) and speaks_tls(encrypted) and one.hostname == other.hostname


def verifies(url: str) -> bool:
    """Whether the server at the other end of an encrypted connection has to prove who it is."""
    return dict(parse_qsl(urlsplit(RedisURL.read(url).url).query)).get("ssl_cert_reqs", "required") == "required"


def secured(url: str, mode: str | None, certificate: str | None, key: str | None) -> str:
    """The URL with what the settings say of TLS; where it is not encrypted, they do not matter.

    As options of the URL, so that every connection has them, whoever makes it: redis-py, rq, the endpoint's own,
    and those to Sentinels. `mode` is the value of `INGEST_REDIS_TLS`; the others are files by which Redis knows
    us.
    """
    if not speaks_tls(url):
        return url
    options: dict[str, str] = {}
    if mode is not None:
        options["ssl_cert_reqs"] = "none" if mode == NO_VERIFY else "required"
        if mode.startswith(CA):
            options["ssl_ca_certs"] = mode.removeprefix(CA)
    if certificate is not None:
        options["ssl_certfile"] = certificate
    if key is not None:
        options["ssl_keyfile"] = key
    place, _, query = url.strip().partition("?")
    kept = [part for part in query.split("&") if part and unquote(part.partition("=")[0]) not in options]
    return f"{place}?{'&'.join([*kept, urlencode(options, quote_via=quote)])}" if options else url


def _by_sentinel(
    scheme: str, parts: SplitResult, options: dict[str, str], ignored: tuple[str, ...]
) -> tuple[str, tuple[str, ...], Sentinels]:
    """The primary's URL, what was left out of it, and the Sentinels."""
    named = _PRIMARY.fullmatch(parts.path)
    if named is None:
        raise ValueError(
            "behind its hosts should be the primary's name, and the number of a database: "
            "redis+sentinel://host:26379,host:26379/mymaster/0"
        )
    userinfo, at, hosts = parts.netloc.rpartition("@")
    own = {name: options.pop(name) for name in TO_SENTINELS if name in options}
    tls = scheme == "rediss" and own.pop("sentinel_tls", "yes") == "yes"
    own.pop("sentinel_tls", None)
    theirs = {name.removeprefix("sentinel_"): value for name, value in own.items()}
    if tls:
        theirs |= {name: value for name, value in options.items() if name in BY_TLS}
    urls = []
    for host in hosts.split(","):
        place = _HOST.fullmatch(host)
        if place is None:
            raise ValueError(f"its host or its port cannot be read; {UNDIVIDED}")
        urls.append(f"redis{'s' * tls}://{place[1]}:{place[2] or SENTINEL_PORT}{_query(theirs)}")
    name, number = named.groups()
    url = f"{scheme}://{userinfo}{at}{name}{f'/{number}' if number else ''}{_query(options)}"
    return url, ignored, Sentinels(name, tuple(urls))


def _options(scheme: str, query: str) -> tuple[dict[str, str], tuple[str, ...]]:
    with_tls = scheme.startswith("rediss")
    known = {**ANYWHERE, **(BY_TCP if scheme != "unix" else {}), **(BY_TLS if with_tls else {})}
    by_sentinel = BY_SENTINEL if scheme.endswith(BY_SENTINEL) else ""
    known |= TO_SENTINELS if by_sentinel else {}
    options: dict[str, str] = {}
    ignored = []
    for part in filter(None, query.split("&")):
        name = unquote(part.partition("=")[0])
        if name in OURS:
            ignored.append(name)
        elif name in BY_TLS and not with_tls:
            raise ValueError(f"its option {name} is for TLS: write rediss{by_sentinel}://")
        elif name not in known:
            shown = f" {name}" if re.fullmatch(r"[a-z_]{1,40}", name) and "=" in part else ""
            raise ValueError(f"its option{shown} is unknown; known are {', '.join(sorted(known))}")
        elif value := dict(parse_qsl(part)).get(name, ""):
            try:
                options.setdefault(name, known[name](value))
            except ValueError as error:
                raise ValueError(f"its option {name} {error}") from None
    return options, tuple(ignored)


def _socket(path: str, host: str | None) -> str:
    if host or not path.strip("/"):
        raise ValueError("write the socket's whole path: unix:///path/to/socket")
    return path


def _database(path: str) -> str:
    number = unquote(path).strip("/")
    if number and not re.fullmatch(r"[0-9]{1,9}", number):
        raise ValueError("what follows its host should be the number of a database: redis://host:6379/0")
    return f"/{number}" if number else ""
