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

__all__ = ["API_URL", "AUTH_URL", "Copernica"]

#: Where the API is, and where an API token is exchanged for access to it.
API_URL = "https://api.copernica.com/v4"
AUTH_URL = "https://authenticate.copernica.com"


def __getattr__(name: str) -> Any:
    # The client needs an HTTP library, which much that uses other modules of this package does not.
    if name != "Copernica":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("ingest.copernica.api.client").Copernica
