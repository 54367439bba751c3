"""Where the console's settings come from: for the page that shows them, and for what it runs beside itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ingest.setting_sources import Given


@dataclass(frozen=True, slots=True)
class Origins:
    """What was set, by whom, and what the command line changed."""

    given: Given
    changes: Mapping[str, Any] = field(default_factory=dict)


#: Where nobody said: all settings are shown as if they were nobody's.
UNKNOWN = Origins(Given({}, {}))
ORIGINS = web.AppKey("origins", Origins)
