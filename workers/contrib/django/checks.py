"""What `manage.py check` finds wrong with `settings.COPERNICA_INGEST`, in a sentence each."""

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from ingest.settings import Settings
from workers.contrib.django import conf


def check_settings(**_: Any) -> list[CheckMessage]:
    """Everything that can be told without asking a server."""
    return list(_found())


def _found() -> Iterator[CheckMessage]:
    try:
        environ = conf.environment()
    except ImproperlyConfigured as error:
        yield Error(str(error), id="copernica_ingest.E001")
        return
    for mistake in Settings.try_to_read({**os.environ, **environ})[1]:
        yield Error(mistake, id="copernica_ingest.E002")
    if not settings.USE_TZ:
        text = "USE_TZ is off: the times of events are in UTC all the same, and cannot be compared with others."
        yield Warning(text, id="copernica_ingest.W001")
    for name, value in conf.given().items():
        if any(map(_has_password, value if isinstance(value, list | tuple) else [value])):
            yield Warning(
                f"{conf.SETTING}[{name!r}] holds a password, which Django's page of errors shows.",
                hint="Set it in the environment: the program reads it there.",
                id="copernica_ingest.W002",
            )


def _has_password(value: object) -> bool:
    try:
        return isinstance(value, str) and "://" in value and bool(urlsplit(value).password)
    except ValueError:  # no URL, which another check says
        return False
