"""`DATABASE_URL`, read as SQLAlchemy reads it, and refused where that is not what was meant."""

import re
from urllib.parse import quote, unquote

#: How PostgreSQL URLs begin: its own way, the older one that Heroku uses, and SQLAlchemy's.
POSTGRESQL_SCHEMES = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
#: How MariaDB URLs begin, and those of MySQL; with the driver's name, as SQLAlchemy has it, or as frameworks do.
MARIADB_SCHEMES = frozenset({"mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql", "mysql2"})
#: Options of such a URL, by the names that MySQL's own programs have for them.
MARIADB_OPTIONS = frozenset({"unix_socket", "ssl_mode", "ssl_ca", "ssl_cert", "ssl_key"})
#: Options that other programs' URLs have, and that mean nothing here: characters are always utf8mb4.
OF_OTHERS = frozenset({"serverversion", "charset"})
#: Ways to encrypt, from none to whoever proves by its certificate to be the host that is named.
SSL_MODES = frozenset({"DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"})

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
    if separator and kind in MARIADB_SCHEMES:
        return f"mysql://{_of_mariadb(rest)}"
    if kind == "sqlite" and rest.startswith("/") and rest not in ("/", "/:memory:"):
        return url
    raise ValueError(
        "write postgresql://user:password@host/database, mysql://user:password@host/database or "
        "sqlite:///path/to/file.db"
    )


def _of_mariadb(rest: str) -> str:
    """What follows the scheme, with options under one name each, and none that mean nothing."""
    if _SEVERAL.fullmatch(rest):
        raise ValueError("it names several hosts: name one, as that of a proxy that finds the primary")
    place, _, query = _divided(rest).partition("?")
    host, _, database = place.rpartition("@")[2].partition("/")
    if not database:
        raise ValueError("it names no database: write mysql://user:password@host/database")
    kept = []
    for option in filter(None, query.split("&")):
        name, _, value = option.partition("=")
        known = unquote(name).lower().replace("-", "_").replace("sslmode", "ssl_mode")
        if known in OF_OTHERS:
            continue
        if known not in MARIADB_OPTIONS:
            raise ValueError(f"it has an option that is none of {', '.join(sorted(MARIADB_OPTIONS))}")
        if known == "ssl_mode" and unquote(value).upper() not in SSL_MODES:
            raise ValueError(f"its ssl_mode is none of {', '.join(sorted(SSL_MODES))}")
        kept.append(f"{known}={value.upper() if known == 'ssl_mode' else value}")
    if not host and not any(option.startswith("unix_socket=") for option in kept):
        raise ValueError("it names no host: write mysql://user:password@host/database")
    return f"{place}{'?' if kept else ''}{'&'.join(kept)}"


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
