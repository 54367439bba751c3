"""Copernica's REST API, version 4: a client of it, for this program and for users' handlers.

    async with Copernica(token) as api:
        profile = await api.get("/profile/12")
        await api.put("/profile/12/fields", {"Clicked": "yes"})
        async for profile in api.pages("/database/1/profiles"):
            ...

Every call raises an `ingest.errors.RestError` if it still fails after all attempts. Readers of what Copernica
tells about mail are modules of this package: `results`, `destinations`, `statistics`, `profiles`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.copernica.api.client import Copernica as Copernica
    from ingest.copernica.api.retry import RetryPolicy as RetryPolicy

__all__ = ["API_URL", "AUTH_URL", "Copernica", "RetryPolicy"]

#: Where the API is, and where an API token is exchanged for access to it.
API_URL = "https://api.copernica.com/v4"
AUTH_URL = "https://authenticate.copernica.com"

_HOMES = {"Copernica": "ingest.copernica.api.client", "RetryPolicy": "ingest.copernica.api.retry"}


def __getattr__(name: str) -> Any:
    # The client needs an HTTP library, which much that uses other modules of this package does not.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
