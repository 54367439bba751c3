"""Which pages and forms the console has, by its own router."""

import re
from typing import Any

from ingest.console.app import create
from ingest.settings import Settings

#: What is no page: files, streams of events, and what tells that the process is alive.
NO_PAGES = ("/static/", "/live/", "/healthz")


def routes(method: str = "GET") -> dict[str, re.Pattern[str]]:
    """Each page that can be asked for, or form that can be sent, and what its addresses look like."""
    found = {}
    for resource in create(Settings.read({"DATABASE_URL": "sqlite:///nowhere.db"})).router.resources():
        info: Any = resource.get_info()
        methods = {route.method for route in resource}
        if method in methods and not resource.canonical.startswith(NO_PAGES):
            found[resource.canonical] = info.get("pattern") or re.compile(re.escape(info["path"]))
    return found
