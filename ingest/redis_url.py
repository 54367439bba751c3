"""`REDIS_URL`, read by our own rules before redis-py sees it.

redis-py hands every option of a URL to its connections, with two results: a wrong name is an error at the first
command, deep inside a running process, and a right one can change what commands return. So each option is in
one of the tables here, or refused.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

#: The schemes: plain, with TLS, by a Unix socket.
SCHEMES = ("redis", "rediss", "unix")
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


@dataclass(frozen=True, slots=True)
class RedisURL:
    """A URL that redis-py understands as we do, and what was left out of it."""

    url: str
    #: Options that were given and are ours to set.
    ignored: tuple[str, ...]

    @classmethod
    def read(cls, url: str) -> Self:
        """Read a URL as the setting has it.

        Raises:
            ValueError: it cannot be used; the text is the rest of a sentence, and shows nothing secret.
        """
        url = url.strip()
        scheme = url.partition("://")[0].lower()
        if "://" not in url or scheme not in SCHEMES:
            raise ValueError("write redis://host:6379/0, rediss:// for TLS, or unix:///path/to/socket")
        if not url.isprintable() or "#" in url:
            raise ValueError(UNDIVIDED)
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(f"its host or its port cannot be read; {UNDIVIDED}") from None
        if "@" in parts.query or ("@" in parts.path and parts.netloc):
            raise ValueError(UNDIVIDED)
        options, ignored = _options(scheme, parts.query)
        if scheme == "unix":
            path = _socket(parts.path, parts.hostname)
        else:
            path = _database(parts.path)
            if not parts.hostname and port is not None:
                raise ValueError("its host is missing")
        query = f"?{urlencode(options, quote_via=quote)}" if options else ""
        return cls(f"{scheme}://{parts.netloc}{path}{query}", ignored)


def _options(scheme: str, query: str) -> tuple[dict[str, str], tuple[str, ...]]:
    known = {**ANYWHERE, **(BY_TCP if scheme != "unix" else {}), **(BY_TLS if scheme == "rediss" else {})}
    options: dict[str, str] = {}
    ignored = []
    for part in filter(None, query.split("&")):
        name = unquote(part.partition("=")[0])
        if name in OURS:
            ignored.append(name)
        elif name in BY_TLS and scheme != "rediss":
            raise ValueError(f"its option {name} is for TLS: write rediss://")
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
