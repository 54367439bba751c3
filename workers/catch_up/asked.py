"""The client of one look."""

from typing import Any

from ingest.copernica.api.client import Copernica
from ingest.copernica.api.request import Params


class Asked(Copernica):
    """The client, which counts what it is asked for."""

    #: Questions so far; one that is asked again for a failure counts once.
    calls = 0

    async def get(self, path: str, params: Params | None = None, about: str = "") -> Any:
        """As of the client."""
        self.calls += 1
        return await super().get(path, params, about)

    async def page(self, path: str, params: Params | None, start: int, limit: int, about: str) -> list[Any]:
        """As of the client."""
        self.calls += 1
        return await super().page(path, params, start, limit, about)
