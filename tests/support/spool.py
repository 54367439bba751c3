"""Spools opened by a test, and what they give back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ingest.batch import Batch
from ingest.spool import Spool

MUCH = 10**9


@asynccontextmanager
async def opened(folder: Path, limit: int = MUCH) -> AsyncIterator[Spool]:
    one = Spool(folder, limit)
    yield one
    await one.close()


async def replayed(one: Spool, size: int = 1, batches: int = 100) -> list[bytes]:
    """Take everything out of it, in portions."""
    await one.tidy()
    taken = []
    while portion := await one.next(size, batches):
        taken += [batch.packed for batch in portion.batches]
        await one.confirm(portion)
    return taken


def numbered(*numbers: int) -> list[Batch]:
    return [Batch(b"%d" % number, number) for number in numbers]
