"""What processes say of themselves is there for as long as they live."""

import orjson
import pytest
import redis

from ingest.stream.heartbeats import REPORT_TTL, Heartbeats
from ingest.stream.keys import Keys
from ingest.stream.reports import DrainReport, EndpointReport, SpoolReport

AT_WORK = EndpointReport("on", 7, 1, {"unsigned": 2}, 0, 3.5, "closed")
DRAINING = DrainReport(120.0)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The server's time, in seconds; to be set by the test."""
    now = [1_795_165_200.0]
    monkeypatch.setattr(Heartbeats, "_now", lambda _: now[0])
    return now


def test_each_process_has_its_latest_report(client: redis.Redis, now: list[float]) -> None:
    Heartbeats(client, "drain:a:1").report(DrainReport(1.0))
    Heartbeats(client, "drain:a:1").report(DRAINING)
    Heartbeats(client, "web:a:2").report(AT_WORK)
    reports = Heartbeats(client).reports()
    assert list(reports.endpoints) == ["web:a:2"]
    assert reports.endpoints["web:a:2"].refused == {"unsigned": 2}
    assert reports.endpoints["web:a:2"].reported_at == now[0]
    assert {name: report.drained_per_second for name, report in reports.drains.items()} == {"drain:a:1": 120.0}


def test_a_process_that_is_silent_is_forgotten(client: redis.Redis, now: list[float]) -> None:
    Heartbeats(client, "drain:a:1").report(DRAINING)
    now[0] += REPORT_TTL
    Heartbeats(client, "drain:a:2").report(DRAINING)
    assert list(Heartbeats(client).reports().drains) == ["drain:a:1", "drain:a:2"]
    now[0] += 1
    assert list(Heartbeats(client).reports().drains) == ["drain:a:2"]
    assert client.hkeys(Keys().reports) == [b"drain:a:2"]


def test_a_process_that_leaves_is_forgotten_at_once(client: redis.Redis) -> None:
    Heartbeats(client, "web:a:1").report(AT_WORK)
    Heartbeats(client, "web:a:1").retract()
    assert Heartbeats(client).reports().endpoints == {}


def test_reports_of_other_releases_count(client: redis.Redis, now: list[float]) -> None:
    fewer = {"at": now[0], "accepted": 3}
    more = {"at": now[0], "spooled": 5, "shard": {"of": "a later release"}, **AT_WORK.as_json()}
    client.hset(Keys().reports, mapping={"web:a:1": orjson.dumps(fewer), "web:a:2": orjson.dumps(more)})
    client.hset(Keys().reports, "drain:a:3", orjson.dumps({"at": now[0], "shard": 1}))
    reports = Heartbeats(client).reports()
    assert [report.accepted for report in reports.endpoints.values()] == [3, 7]
    assert reports.endpoints["web:a:2"].spool == SpoolReport(5, 0, None, 0)
    assert list(reports.drains) == ["drain:a:3"]
