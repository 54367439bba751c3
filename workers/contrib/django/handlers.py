"""The handlers of the installed apps: what `INGEST_HANDLERS` names in a Django project.

Django is set up first, if it is not yet. Then the module `copernica_handlers` of each app is imported, whose
functions use `on` as everywhere; each call of theirs has fresh connections to the databases.
"""

import importlib
import os
import sys

import django
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import module_has_submodule

from workers.contrib.django.connections import with_fresh_connections
from workers.handlers.registry import adapted

#: The module of an app in which its handlers are.
NAME = "copernica_handlers"


def _set_up() -> None:
    if apps.ready:
        return
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        raise ImproperlyConfigured("DJANGO_SETTINGS_MODULE is not set: name the settings of your project in it")
    django.setup()


def _import() -> None:
    """Import the handlers, again if they were imported before."""
    with adapted(with_fresh_connections):
        for app in apps.get_app_configs():
            if app.module is not None and module_has_submodule(app.module, NAME):
                module = f"{app.name}.{NAME}"
                for known in [one for one in sys.modules if one == module or one.startswith(f"{module}.")]:
                    del sys.modules[known]
                importlib.import_module(module)


_set_up()
_import()
# What was opened meanwhile belongs to this process: a job, which is a fork of it, opens its own.
connections.close_all()
