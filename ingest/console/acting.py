"""What people do from the console: through here, so that each action is in the audit."""

from collections.abc import Callable, Mapping

from aiohttp import web

from ingest.console import once
from ingest.console.reading import PATIENCE, reading_of
from ingest.console.visitor import visitor_of
from workers.operations import audit
from workers.store.store import Store


async def act(
    request: web.Request,
    action: str,
    what: Mapping[str, object],
    do: Callable[[Store], int | None],
    patience: float = PATIENCE,
) -> int | None:
    """Do something in a thread, and write down who did it; returns how many it affected.

    The visitor may act, and the form was made here: `access` has seen to that for each request that is no GET.

    Raises:
        IngestError: as `do` does.
        Unavailable: it did not end in time; it goes on.
    """
    visitor = visitor_of(request)

    def done(store: Store) -> int | None:
        return audit.noted(store, visitor.name, audit.CONSOLE, action, what, lambda: do(store), visitor.address)

    number = await reading_of(request).store(done, patience, stops=False)
    once.acted(request)
    return number
