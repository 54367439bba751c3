"""Copernica's events in a Django project: handlers, a model, an admin page, a command, and Anymail's signal.

    INSTALLED_APPS = [..., "workers.contrib.django"]
    COPERNICA_INGEST = {"ACCOUNTS": ["account-1234"], "DATABASE": "default"}

Functions in the module `copernica_handlers` of any app are handlers. `manage.py copernica` is the `ingest`
command, with the settings of the project: `manage.py copernica worker --queue handlers`. Processes that are
started in another way import `workers.contrib.django.handlers`, which is what `INGEST_HANDLERS` has to name then.
"""
