"""`DATABASE_URL`, read as SQLAlchemy reads it, and refused where that is not what was meant."""

import re
from urllib.parse import quote

#: How PostgreSQL URLs begin: its own way, the older one that Heroku uses, and SQLAlchemy's.
POSTGRESQL_SCHEMES = frozenset({"postgresql", "postgres", "postgresql+psycopg"})

# How SQLAlchemy divides what follows the scheme: the password ends at the first `@`.
_PARTS = re.compile(
    r"(?:([^:/]*)(?::([^@]*))?@)?(\[[^/?@]+\]|[^/:?@]*)(?::([0-9]{1,5}))?((?:/[^?@]*)?(?:\?[^@]*)?)"
)


def read(url: str) -> str:
    """The URL, with every sign in its user and its password encoded that has a meaning in URLs.

    Raises:
        ValueError: it cannot be used; the text is the rest of a sentence, and shows nothing secret.
    """
    url = url.strip()
    kind, separator, rest = url.partition("://")
    if separator and kind in POSTGRESQL_SCHEMES:
        return f"postgresql://{_divided(rest)}"
    if kind == "sqlite" and rest.startswith("/") and rest not in ("/", "/:memory:"):
        return url
    raise ValueError("write postgresql://user:password@host/database or sqlite:///path/to/file.db")


def _divided(rest: str) -> str:
    match = _PARTS.fullmatch(rest)
    if match is None or not rest.isprintable():
        # An @ that is not the end of the password would make a part of it the host, which errors show.
        raise ValueError("its parts cannot be told apart; in a password write %40 for @, and check its port")
    user, password, host, port, behind = match.groups()
    userinfo = ":".join(quote(part, safe="%") for part in (user, password) if part is not None)
    return f"{userinfo}{'@' if userinfo else ''}{host}{f':{port}' if port else ''}{behind}"
