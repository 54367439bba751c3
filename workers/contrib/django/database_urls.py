"""A database of the project as the program's `DATABASE_URL`: the same server, as the same user, as encrypted."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ingest import shown

#: Django's engines, as far as their last part, and what begins a URL of ours for them.
_SCHEMES = {"sqlite3": "sqlite", "postgresql": "postgresql", "postgis": "postgresql", "mysql": "mysql"}
#: Options that tell Django, or the driver, how to work; all others of PostgreSQL tell libpq how to connect.
_HOW_TO_WORK = frozenset(
    {
        "application_name", "assume_role", "autocommit", "client_encoding", "connect_timeout", "context",
        "cursor_factory", "isolation_level", "pool", "prepare_threshold", "row_factory", "server_side_binding",
    }
)  # fmt: skip  # a list to be read across
#: Options that drivers of MariaDB and we know by the same name.
_OF_MARIADB = frozenset({"unix_socket", "ssl_mode"})
#: The files in the option `ssl` of these drivers, which are options of their own in URLs.
_FILES = ("ca", "cert", "key")


def url_of(alias: str) -> str:
    """The URL of one of the project's databases.

    Raises:
        ImproperlyConfigured: there is none of this name, or it is of a kind that cannot hold the events.
    """
    databases = settings.DATABASES
    if alias not in databases:
        hint = shown.did_you_mean(alias, databases)
        raise ImproperlyConfigured(f"COPERNICA_INGEST['DATABASE'] is {alias!r}, which is not in DATABASES.{hint}")
    one = databases[alias]
    scheme = _SCHEMES.get(str(one.get("ENGINE", "")).rpartition(".")[2])
    if scheme is None:
        raise ImproperlyConfigured(
            f"DATABASES[{alias!r}] has the engine {one.get('ENGINE')!r}: events are kept in SQLite, PostgreSQL, "
            "MariaDB or MySQL; name another database, or set DATABASE_URL."
        )
    name = str(one.get("NAME") or "")
    if scheme == "sqlite":
        return f"sqlite:///{quote(name)}"
    options = _postgresql_options(one) if scheme == "postgresql" else _mariadb_options(alias, one)
    has_place = not {"host", "unix_socket"} & set(options)
    # Without a host, libpq looks for a socket where it knows there to be one; nobody knows where MariaDB's is.
    place = _place(one, "localhost" if scheme == "mysql" else "") if has_place else ""
    query = f"?{urlencode(options, quote_via=quote)}" if options else ""
    return f"{scheme}://{_who(one)}{place}/{quote(name, safe='')}{query}"


def _who(one: Mapping[str, Any]) -> str:
    user, password = (quote(str(one.get(name) or ""), safe="") for name in ("USER", "PASSWORD"))
    return f"{user}{':' + password if password else ''}{'@' if user else ''}"


def _place(one: Mapping[str, Any], default: str) -> str:
    host, port = str(one.get("HOST") or default), one.get("PORT")
    return (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")


def _postgresql_options(one: Mapping[str, Any]) -> dict[str, str]:
    given = one.get("OPTIONS") or {}
    options = {name: str(value) for name, value in given.items() if name not in _HOW_TO_WORK}
    if role := given.get("assume_role"):
        options["options"] = f"{options.get('options', '')} -c role={role}".strip()
    host, port = str(one.get("HOST") or ""), one.get("PORT")
    if host.startswith(("/", "@")) or "," in host:  # the folder of a socket; or several servers
        options["host"] = host
        if port:
            options["port"] = str(port)
    return options


def _mariadb_options(alias: str, one: Mapping[str, Any]) -> dict[str, str]:
    given = one.get("OPTIONS") or {}
    if "read_default_file" in given:
        raise ImproperlyConfigured(
            f"DATABASES[{alias!r}] has where its server is from a file (`read_default_file`), which the program "
            "does not read: set DATABASE_URL."
        )
    options = {name: str(value) for name, value in given.items() if name in _OF_MARIADB}
    files = given.get("ssl")
    if isinstance(files, Mapping):
        options |= {f"ssl_{name}": str(files[name]) for name in _FILES if files.get(name)}
    if (host := str(one.get("HOST") or "")).startswith("/"):
        options["unix_socket"] = host
    return options
