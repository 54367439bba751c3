"""A spool whose disk goes with the process is enough for a 200 only for a while."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ingest.batch import Record
from ingest.errors import WriteUnconfirmed
from ingest.redis_client import connect_async
from ingest.spool import Spool
from ingest.stream.appends import Stream
from ingest.stream.producer import Producer


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    async with Spool(tmp_path / "spool", 1_000_000) as spool:
        yield spool


async def kept(appender: Producer) -> WriteUnconfirmed | None:
    """What a call is told."""
    told: list[WriteUnconfirmed | None] = []
    appender.submit(Record(b"0" * 12, 0, b"/copernica", b"text/plain", b"x"), told.append)
    await appender.settle()
    return told[0]


async def test_while_redis_is_away_it_is_enough_at_first(
    spool: Spool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect_async("unix:///nowhere") as nobody:
        appender = Producer([Stream(nobody)], lambda: None, spool=spool, spool_lasts=False)
        assert await kept(appender) is None
        assert (appender.spool_takes, appender.is_overdue) == (True, False)
        monkeypatch.setattr("ingest.stream.aside.PASSING_SPOOL", 0.0)
        assert (appender.spool_takes, appender.is_overdue) == (False, True)
        refusal = await kept(appender)
        assert "INGEST_SPOOL_DURABLE=no" in str(refusal)
        assert spool.events == 1
        await appender.close()
    # What lies there for long counts as well, also once Redis has come and gone again.
    async with connect_async(redis_url) as client:
        appender = Producer([Stream(client)], lambda: None, spool=spool, spool_lasts=False)
        assert await kept(appender) is None
        assert appender.is_overdue
        await appender.close()


async def test_while_the_backlog_is_too_large_it_is_enough_at_first(
    spool: Spool, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect_async(redis_url) as client:
        appender = Producer([Stream(client)], lambda: None, spool=spool, spool_lasts=False)
        appender.lanes[0].is_over = True
        assert await kept(appender) is None
        monkeypatch.setattr("ingest.stream.aside.PASSING_SPOOL", 0.0)
        appender.lanes[0].is_over = True  # once more, as every few seconds
        assert await kept(appender) is not None
        appender.lanes[0].is_over = False
        assert await kept(appender) is None
        await appender.close()


async def test_one_that_lasts_is_enough_for_ever(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.stream.aside.PASSING_SPOOL", 0.0)
    async with connect_async("unix:///nowhere") as nobody:
        appender = Producer([Stream(nobody)], lambda: None, spool=spool)
        for _ in range(2):
            assert await kept(appender) is None
        assert appender.spool_takes
        await appender.close()
