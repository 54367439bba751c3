"""`settings.COPERNICA_INGEST`: the program's settings, under their own names, with or without `INGEST_`.

What the environment sets wins, as it does over a file: so one project can be deployed in several places. Two names
are special: `DATABASE` is the alias of the database in which the events are, and `HANDLERS` gains the handlers of
the installed apps.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ingest import shown
from ingest.setting_sources import PREFIX
from ingest.settings import Settings
from workers.contrib.django.database_urls import url_of

#: The setting, and the names in it that are not the program's.
SETTING, ALIAS = "COPERNICA_INGEST", "DATABASE"
#: What `INGEST_HANDLERS` has to name for the handlers of the installed apps.
HANDLERS_MODULE = "workers.contrib.django.handlers"
#: An empty one counts as set: it means "none".
_EMPTY_COUNTS = "INGEST_SPOOL_DIR"


def given() -> Mapping[str, Any]:
    """What the project sets.

    Raises:
        ImproperlyConfigured: it is no dictionary.
    """
    found = getattr(settings, SETTING, {})
    if not isinstance(found, Mapping):
        raise ImproperlyConfigured(f"{SETTING} should be a dictionary, as in {{'ACCOUNTS': ['account-1234']}}.")
    return found


def alias() -> str:
    """The alias of the database in which the events are."""
    return str(given().get(ALIAS) or "default")


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the project sets that the environment does not, as variables of the environment.

    Raises:
        ImproperlyConfigured: a name is no setting, or a value is of a type that none can have.
    """
    set_ = dict(_variables())
    if ALIAS in given() and "DATABASE_URL" not in set_ and not environ.get("DATABASE_URL"):
        set_["DATABASE_URL"] = url_of(alias())
    set_ = {name: value for name, value in set_.items() if not _is_set(environ, name)}
    modules = environ.get("INGEST_HANDLERS") or set_.get("INGEST_HANDLERS", "")
    if HANDLERS_MODULE not in [module.strip() for module in modules.split(",")]:
        set_["INGEST_HANDLERS"] = ",".join(filter(None, [modules, HANDLERS_MODULE]))
    return set_


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return bool(environ.get(name)) or (name == _EMPTY_COUNTS and name in environ)


def _variables() -> Iterator[tuple[str, str]]:
    known = Settings.names()
    for name, value in given().items():
        if name == ALIAS:
            continue
        variable = name if name in known else f"{PREFIX}{name}"
        if variable not in known:
            hint = shown.did_you_mean(name, [*known, *(one.removeprefix(PREFIX) for one in known), ALIAS])
            raise ImproperlyConfigured(f"{SETTING} has {name!r}, which is no setting.{hint}")
        if value is not None:
            yield variable, _text(name, value)


def _text(name: str, value: object) -> str:
    """A value as the environment would have it; a list is separated by commas, and `True` is `on`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str | int | float | Path):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(one, str | int) for one in value):
        return ",".join(map(str, value))
    raise ImproperlyConfigured(f"{SETTING}[{name!r}] should be a text, a number, True, False or a list of texts.")
