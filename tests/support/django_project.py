"""The example project in the test's own process: Django can be set up once in each, so all tests share it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.settings import Settings
from tests.support.source import ROOT

PROJECT = ROOT / "examples" / "django"


def set_up(folder: Path) -> None:
    """Have Django use the example's settings; once in a process."""
    if "DJANGO_SETTINGS_MODULE" not in os.environ:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "settings", "SHOP_DATA": str(folder)}
        sys.path.insert(0, str(PROJECT))
    import django  # after the settings are named

    django.setup()


@contextmanager
def databases(folder: Path, events: str, own: str = "") -> Iterator[None]:
    """New databases: that of the project's `own` tables, a file by default, and the one that has the events."""
    from django.core.management import call_command
    from django.db import connections

    before = dict(connections.settings)
    connections.settings = connections.configure_settings(
        {
            "default": _described(own or f"sqlite:///{folder}/shop.sqlite3"),
            "copernica": _described(events),
        }
    )
    for alias in ("default", "copernica"):
        if hasattr(connections._connections, alias):
            del connections[alias]
    try:
        call_command("migrate", verbosity=0)
        yield
    finally:
        connections.close_all()
        connections.settings = before


def _described(url: str) -> dict[str, object]:
    """A URL of ours as Django's `DATABASES` has it."""
    import sqlalchemy

    parsed = sqlalchemy.make_url(Settings.read({"DATABASE_URL": url}).database)
    if parsed.get_backend_name() == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parsed.database}
    if parsed.get_backend_name() == "mysql":
        import pymysql

        pymysql.install_as_MySQLdb()  # Django's own choice, mysqlclient, has to be compiled
        socket = parsed.query["unix_socket"]
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": parsed.database,
            "USER": parsed.username or "",
            "HOST": socket,
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parsed.database,
        "USER": parsed.username or "",
        "PASSWORD": parsed.password or "",
        "HOST": parsed.query.get("host", parsed.host),
        "PORT": parsed.port or parsed.query.get("port") or "",
    }
