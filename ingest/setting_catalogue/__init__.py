"""What each setting means, and what happens if it is wrong.

`ingest config NAME` shows it, and docs/reference/settings.md is made of it. `ingest.settings` has types and
limits; the texts are apart from it because every process reads that, and few need these.
"""

from collections.abc import Mapping

from ingest.setting_catalogue import after, calls, privacy, servers
from ingest.setting_catalogue.setting import Reader, Setting

__all__ = ["BY_NAME", "SECTIONS", "Reader", "Setting"]

#: By headings, in the order in which somebody sets up an installation.
SECTIONS: Mapping[str, tuple[Setting, ...]] = {
    "Redis": servers.REDIS,
    "The database and files": servers.DATABASE,
    "What is kept of people": privacy.PEOPLE,
    "The endpoint": calls.ENDPOINT_ITSELF,
    "Whose calls are taken": calls.ACCEPTED,
    "When Redis or DNS is away": calls.ASIDE,
    "Handlers and other receivers": after.RECEIVERS,
    "Copernica's API": after.API,
    "Alerts, log and reports": after.WATCHED,
    "Metrics": after.METRICS,
    "The console": after.CONSOLE_ITSELF,
}

BY_NAME: Mapping[str, Setting] = {one.name: one for settings in SECTIONS.values() for one in settings}
