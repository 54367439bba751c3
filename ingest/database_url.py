"""`DATABASE_URL`, read as SQLAlchemy reads it, and refused where that is not what was meant."""

import re
from urllib.parse import quote

#: How PostgreSQL URLs begin: its own way, the older one that Heroku uses, and SQLAlchemy's.
POSTGRESQL_SCHEMES = frozenset({"postgresql", "postgres", "postgresql+psycopg"})

# How SQLAlchemy divides what follows the scheme: the password ends at the first `@`.
_PARTS = re.compile(
    r"(?:([^:/]*)(?::([^@]*))?@)?(\[[^/?@]+\]|[^/:?@]*)(?::([0-9]{1,5}))?((?:/[^?@]*)?(?:\?[^@]*)?)"
)
# The same with several hosts, which SQLAlchemy knows only as options: what is before them, they, and the rest.
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{1,5})?"
_SEVERAL = re.compile(rf"((?:[^:/]*(?::[^@]*)?@)?)({_HOST}(?:,{_HOST})+)((?:/[^?@]*)?)(?:\?([^@]*))?")


def read(url: str) -> str:
    """The URL, with every sign in its user and its password encoded that has a meaning in URLs.

    Raises:
        ValueError: it cannot be used; the text is the rest of a sentence, and shows nothing secret.
    """
    url = url.strip()
    kind, separator, rest = url.partition("://")
    if separator and kind in POSTGRESQL_SCHEMES:
        return f"postgresql://{_divided(_with_hosts_as_options(rest))}"
    if kind == "sqlite" and rest.startswith("/") and rest not in ("/", "/:memory:"):
        return url
    raise ValueError("write postgresql://user:password@host/database or sqlite:///path/to/file.db")


def _with_hosts_as_options(rest: str) -> str:
    """Several hosts as libpq's own options, which SQLAlchemy passes on: `host=a,b&port=5432,5433`."""
    match = _SEVERAL.fullmatch(rest)
    if match is None:
        return rest
    userinfo, hosts, database, query = match.groups()
    if any(part.startswith(("host=", "port=")) for part in (query or "").split("&")):
        raise ValueError("it names hosts in two places")
    places = [re.fullmatch(r"(.*?)(?::([0-9]{1,5}))?", place).groups("") for place in hosts.split(",")]  # type: ignore[union-attr]
    names = ",".join(name.strip("[]") for name, _ in places)
    ports = ",".join(port for _, port in places)
    options = [f"host={quote(names, safe=',:')}", f"port={ports}" if ports.strip(",") else "", query or ""]
    return f"{userinfo}{database or '/'}?{'&'.join(filter(None, options))}"


def _divided(rest: str) -> str:
    match = _PARTS.fullmatch(rest)
    if match is None or not rest.isprintable():
        # An @ that is not the end of the password would make a part of it the host, which errors show.
        raise ValueError("its parts cannot be told apart; in a password write %40 for @, and check its port")
    user, password, host, port, behind = match.groups()
    userinfo = ":".join(quote(part, safe="%") for part in (user, password) if part is not None)
    return f"{userinfo}{'@' if userinfo else ''}{host}{f':{port}' if port else ''}{behind}"
