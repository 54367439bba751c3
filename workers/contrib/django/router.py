"""Sends the model of events to the database in which they are: for `DATABASE_ROUTERS`."""

from typing import Any

from workers.contrib.django import conf

LABEL = "copernica_ingest"


class CopernicaRouter:
    """Needed where the events are not in the database `default`."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        """The alias of that database, for our model."""
        return conf.alias() if model._meta.app_label == LABEL else None

    db_for_write = db_for_read

    def allow_migrate(self, _database: str, app_label: str, **_: Any) -> bool | None:
        """`migrate` has nothing to do with our tables."""
        return False if app_label == LABEL else None
