"""What is counted on the way of a call, and the port at which it is shown."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import date
from pathlib import Path
from typing import cast

import pytest
import redis
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner
from sqlalchemy import Engine, event

from ingest import redis_client
from ingest.batch import Record
from ingest.cli.main import main
from ingest.console import listening as console_listening
from ingest.endpoint.connections import Connections
from ingest.endpoint.intake import Intake
from ingest.endpoint.measuring import Measuring
from ingest.errors import AddressInUse, SettingsError, Unavailable
from ingest.metrics import connections, exporter, listening
from ingest.metrics.board import Board
from ingest.metrics.catalogue import CATALOGUE, Port
from ingest.metrics.exporter import Asked, Behind, Exporter, Sources
from ingest.metrics.figures import Figures
from ingest.settings import Settings
from ingest.stream.appends import Stream
from ingest.stream.producer import Producer
from tests.support.builders import decoded, record, refused_body
from tests.support.metrics import counted_in_job, samples
from tests.support.sql import REFUSALS, add, execute, give
from tests.support.stream import keep
from workers.drain.drain import Drain
from workers.metrics import JobFigures
from workers.operations import shared_figures
from workers.operations.figures import ReconciledFigures
from workers.records import Quarantined, Why
from workers.store.store import Store

Client = TestClient[web.Request, web.Application]
SCALE = ({"seconds_behind": 2.5}, [{"name": "worker", "value": 2.5}])


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create(2)
    yield board
    board.close()


@pytest.fixture
def counted() -> Iterator[Callable[[], Figures]]:
    with counted_in_job() as left:
        yield left


# --- the port ---


@asynccontextmanager
async def port(
    behind: Behind | None = None,
    shared: Callable[[], Figures] = Figures,
    scale: Callable[[], tuple[object, object]] = lambda: SCALE,
    token: str | None = None,
) -> AsyncIterator[Client]:
    app = Exporter(behind or Behind("metrics"), Sources(shared, scale), token).app()
    async with TestClient(TestServer(app)) as client:
        yield client


async def shown(client: Client) -> dict[str, float]:
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        return samples(await answer.text())


async def test_a_port_shows_what_all_processes_behind_it_have_left(board: Board) -> None:
    for slot, calls in enumerate((3, 4)):
        figures = Figures(pid=os.getpid(), at=time.time(), gauges={("ingest_connections",): 5.0})
        figures.count("ingest_calls_total", "kept", by=calls)
        board.write(slot, figures.as_json())
    async with port(Behind("serve", board)) as client:
        found = await shown(client)
    assert found['ingest_calls_total{result="kept"}'] == 7
    assert found["ingest_connections"] == 10
    assert found['ingest_process_resident_memory_bytes{process="web.2"}'] > 2**20
    assert found['ingest_process_open_fds{process="metrics"}'] > 3
    assert [name for name in found if name.startswith('ingest_build_info{part="serve",version=')]


async def test_what_a_process_that_is_gone_has_counted_stays_but_not_how_it_was(board: Board) -> None:
    figures = Figures(pid=2**22 + 1, at=1.0, gauges={("ingest_connections",): 5.0})
    figures.count("ingest_batches_total", by=2)
    board.write(1, figures.as_json())
    async with port(Behind("serve", board)) as client:
        found = await shown(client)
    assert found["ingest_batches_total"] == 2
    assert "ingest_connections" not in found
    assert not [name for name in found if 'process="web.2"' in name]


async def test_while_redis_and_the_database_do_not_answer_a_port_shows_the_rest(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "PATIENCE", 0.05)
    answered = threading.Event()

    def silent() -> Figures:
        answered.wait(30)
        return Figures()

    async with port(Behind("serve", board), shared=silent) as client:
        found = await shown(client)
        answered.set()
    assert (found["ingest_redis_up"], found["ingest_database_up"]) == (0, 0)
    assert found['ingest_process_open_fds{process="metrics"}'] > 3


async def test_however_many_look_redis_and_the_database_are_asked_once() -> None:
    asked = []
    now = [100.0]
    question = Asked(lambda: asked.append(1), clock=lambda: now[0])
    await asyncio.gather(*(question.answer() for _ in range(20)))
    await question.answer()
    assert len(asked) == 1
    now[0] += exporter.FRESH + 1
    await question.answer()
    assert len(asked) == 2


async def test_scaling_is_told_as_json_and_as_hirefire_wants_it() -> None:
    async with port(token="t0ken") as client:
        async with client.get("/scale", headers={"Authorization": "Bearer t0ken"}) as answer:
            assert (answer.status, await answer.json()) == (200, SCALE[0])
        async with client.get("/hirefire/t0ken/info") as answer:
            assert (answer.status, await answer.json()) == (200, SCALE[1])


async def test_who_cannot_be_asked_is_never_taken_for_idle() -> None:
    def unavailable() -> tuple[object, object]:
        raise Unavailable("Redis at redis://:secret@host does not answer.")

    async with port(scale=unavailable) as client, client.get("/scale") as answer:
        assert (answer.status, (await answer.json())["error"]) == (503, "unavailable")


async def test_what_goes_wrong_with_a_look_is_logged_and_the_rest_is_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with port(shared=lambda: 1 // 0, scale=lambda: 1 // 0) as client:  # type: ignore[arg-type,return-value]
        assert "ingest_redis_up" not in await shown(client)
        async with client.get("/scale") as answer:
            assert answer.status == 503
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("path", ["/metrics", "/scale", "/hirefire/wrong/info", "/", "/nothing"])
@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "t0ken", "Bearer é"])
async def test_with_a_token_strangers_see_nothing(path: str, authorization: str) -> None:
    async with port(token="t0ken") as client:
        async with client.get(path, headers={"Authorization": authorization}) as answer:
            assert answer.status in (401, 404)
            assert "ingest_" not in await answer.text()
        async with client.get("/healthz") as answer:
            assert answer.status == 200


async def test_without_a_token_there_is_nothing_for_hirefire() -> None:
    async with port() as client, client.get("/hirefire/None/info") as answer:
        assert answer.status == 404


async def test_where_a_port_is_taken_the_next_one_is_used() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"port {number}"):
            listening.bind("127.0.0.1", number)
        stopped = asyncio.Event()
        found = await listening.find_port("127.0.0.1", number, number + 1, stopped.wait)
        assert found is not None
        with found:
            assert number + 1 < found.getsockname()[1] < number + listening.PORTS
        stopped.set()
        assert await listening.find_port("127.0.0.1", 65536, None, stopped.wait) is None


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_a_host_that_is_not_this_machine_is_a_mistake(host: str) -> None:
    with pytest.raises(SettingsError, match="INGEST_METRICS_HOST"):
        listening.require(host, 9464)
    with pytest.raises(SettingsError, match="INGEST_CONSOLE_HOST"):
        console_listening.bound(host, 8001)


# --- the endpoint ---


async def test_an_endpoint_process_counts_on_from_the_one_before_it(redis_url: str, board: Board) -> None:
    for calls in (1, 3):
        async with redis_client.connect_async(redis_url) as client:
            producer = Producer([Stream(client)], lambda: None)
            intake = Intake(producer, 1000)
            running = asyncio.create_task(
                Measuring(board, 0, intake, producer, Connections(9, intake.memory)).run()
            )
            await asyncio.sleep(0)
            for _ in range(calls):
                await intake.keep(b"/copernica", [], b"type=open")
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await producer.close()
    left = Figures.from_json(board.read(0))
    assert left.counts["ingest_calls_total", "kept"] == 4
    assert left.counts["ingest_calls_total", "failed"] == 0
    assert sum(left.timing("ingest_ack_seconds").counts) == 4
    assert sum(left.timing("ingest_append_seconds").counts) == left.counts[("ingest_batches_total",)] == 4
    assert left.gauges[("ingest_last_call_timestamp_seconds",)] == pytest.approx(left.at, abs=60)
    assert left.gauges[("ingest_connections_limit",)] == 9


# --- Redis and the database ---


def test_what_redis_and_the_database_know_is_shown(
    redis_url: str, database: str, store: Store, client: redis.Redis
) -> None:
    settings = Settings.read({"REDIS_URL": redis_url, "DATABASE_URL": database})
    assert ("ingest_last_call_timestamp_seconds",) not in shared_figures.gather(settings).gauges
    keep(client, [record(1), record(2)], [record(3)])
    store.add([decoded(record(4))], [Quarantined(record(5), "no")])
    give(store, "crm", [record(6), record(7)])
    add(store, record(8))
    found = shared_figures.gather(settings).gauges
    expected = {
        ("ingest_redis_up",): 1,
        ("ingest_database_up",): 1,
        ("ingest_backlog_events",): 3,
        ("ingest_backlog_batches",): 2,
        ("ingest_pending_batches",): 0,
        ("ingest_workers", "events"): 0,
        ("ingest_workers_suspended",): 0,
        ("ingest_stored_events",): 2,
        ("ingest_quarantined_calls",): 1,
        ("ingest_outbox_calls",): 1,
        ("ingest_handler_waiting", "crm"): 2,
        ("ingest_handler_retries", "crm"): 0,
        ("ingest_dead_letters", "crm"): 0,
        ("ingest_recommended_workers", "handlers"): 2,
    }
    assert {series: found[series] for series in expected} == expected
    assert found[("ingest_last_call_timestamp_seconds",)] == pytest.approx(time.time(), abs=60)
    known = {(metric.name, len(metric.labels)) for metric in CATALOGUE if metric.port is Port.SHARED}
    assert {(series[0], len(series) - 1) for series in found} <= known


def test_what_cannot_be_reached_is_left_out(database: str, store: Store, tmp_path: Path) -> None:
    away = shared_figures.gather(Settings.read({"REDIS_URL": "redis://127.0.0.1:1/0", "DATABASE_URL": database}))
    assert away.gauges[("ingest_redis_up",)] == 0
    assert away.gauges[("ingest_stored_events",)] == 0
    assert ("ingest_backlog_events",) not in away.gauges


def test_redis_that_goes_away_during_a_scrape_takes_only_what_needs_it(
    redis_url: str, database: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> int:
        raise redis.ConnectionError

    # The time, which a database without a clock needs; and what handlers wait for, which the other needs, too.
    monkeypatch.setattr(shared_figures, "redis_time", away)
    monkeypatch.setattr("workers.operations.scale.is_held_up", away)
    give(store, "crm", [record(1)])
    found = shared_figures.gather(Settings.read({"REDIS_URL": redis_url, "DATABASE_URL": database})).gauges
    assert found["ingest_handler_waiting", "crm"] == found["ingest_redis_up",] == found["ingest_database_up",] == 1
    assert ("ingest_recommended_workers", "handlers") not in found


def test_a_scrape_asks_each_question_once_and_none_that_nobody_sees(
    redis_url: str, database: str, store: Store, client: redis.Redis
) -> None:
    settings = Settings.read({"REDIS_URL": redis_url, "DATABASE_URL": database})
    give(store, "crm", [record(6)])
    with store.engine.begin() as connection:  # a dead letter, whose error is for `status` to show
        moment = "'2026-11-26 00:00:00'"
        connection.exec_driver_sql(
            f"INSERT INTO dead_letters VALUES ('crm', '1', 'open', {moment}, {moment}, 9, 'error', '', '')"
        )
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    client.config_resetstat()
    event.listen(Engine, "before_cursor_execute", note)
    try:
        found = shared_figures.gather(settings).gauges
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert found["ingest_dead_letters", "crm"] == 1
    catalogues = "pg_", "clock", "DESCRIBE", "information_schema", "UNIX_TIMESTAMP"
    of_tables = [statement for statement in asked if not any(word in statement for word in catalogues)]
    assert sorted(of_tables) == sorted(set(of_tables))
    assert not [statement for statement in asked if "dead_letters.error" in statement]
    assert client.info("commandstats")["cmdstat_smembers"]["calls"] == 1  # RQ's workers


def test_of_the_last_days_it_is_shown_what_is_known() -> None:
    today = date(2026, 11, 26)
    days = ReconciledFigures(date(2026, 11, 23), date(2026, 11, 22), (date(2026, 11, 24),), (date(2026, 11, 20),))
    assert {series[1]: value for series, value in shared_figures.of_days(days, today)} == {
        "2026-11-24": 0,
        "2026-11-23": 1,
        "2026-11-22": 1,
        "2026-11-20": 0,
    }


# --- workers ---


def calls_of(*numbers: int, kind: str = "open") -> list[Record]:
    return [record(number, kind) for number in numbers]


def test_events_are_counted_by_type_when_they_are_stored_and_once(
    store: Store, counted: Callable[[], Figures]
) -> None:
    store.add([decoded(call) for call in (*calls_of(1, 2), *calls_of(3, kind="click"))])
    store.add([decoded(call) for call in (*calls_of(2, 4), *calls_of(5, kind="never heard of"))])
    store.add([], [Quarantined(record(6), "no"), Quarantined(record(7), "no", Why.REFUSED)])
    counts = counted().counts
    assert {
        series[1]: number for series, number in counts.items() if series[0] == "ingest_events_stored_total"
    } == {
        "open": 3,
        "click": 1,
        "unknown": 1,
    }
    assert counts["ingest_quarantined_total", "unreadable"] == counts["ingest_quarantined_total", Why.REFUSED] == 1


def test_what_the_database_does_not_take_is_not_counted_as_stored(
    store: Store, database: str, client: redis.Redis, counted: Callable[[], Figures]
) -> None:
    execute(store, REFUSALS[database.partition(":")[0].partition("+")[0]][0])
    keep(client, [record(1), record(2, body=refused_body(2)), record(3)], [record(1)])
    Drain(client, store).run()
    left = counted()
    assert left.counts["ingest_events_stored_total", "open"] == 2
    assert left.counts[("ingest_doubles_total",)] == 1
    assert left.counts["ingest_quarantined_total", Why.REFUSED] == 1
    assert sum(left.timing("ingest_store_seconds").counts) >= 1


def test_a_drain_without_rq_counts_for_its_worker(
    redis_url: str, sqlite_url: str, client: redis.Redis, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    for number in (1, 2):
        keep(client, [record(number)])
        assert CliRunner().invoke(main, ["drain", "--board", str(board.fd)]).exit_code == 0
    assert Figures.from_json(board.read(0)).counts["ingest_events_stored_total", "open"] == 2


def test_a_job_counts_on_from_those_before_it() -> None:
    board = Board.create(1)
    for _ in range(3):  # each in a fork of the worker, which has counted nothing
        horse = JobFigures()
        horse.leave_on(board)
        with suppress(ZeroDivisionError), horse.job():
            horse.handled("crm", "done", 2)
            raise ZeroDivisionError
    assert Figures.from_json(board.read(0)).counts == {("ingest_handler_calls_total", "crm", "done"): 6}
    board.close()


async def test_one_connection_too_many_takes_the_place_of_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 2)
    async with port() as client:
        assert client.server.runner is not None
        few = connections.Few(cast(web.Server, client.server.runner.server))
        listening = await asyncio.get_running_loop().create_server(few, "127.0.0.1", 0)
        where = listening.sockets[0].getsockname()
        opened = [await asyncio.open_connection(*where) for _ in range(3)]
        assert await asyncio.wait_for(opened[0][0].read(), 30) == b""
        opened[2][1].write(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
        assert b" 200 " in await asyncio.wait_for(opened[2][0].readline(), 30)
        for _, writer in opened:
            writer.close()
        listening.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET /metrics HTTP/geheim\r\n\r\n", 400),
        ("GEH<EIM /metrics HTTP/1.1\r\n\r\n", 400),
        ("GET /metrics HTTP/1.1\r\ngeheim\r\n\r\n", 400),
        ("GET /metrics HTTP/1.1\r\nHost: t\r\nContent-Length: geheim\r\n\r\n", 400),
        (f"GET /geheim{'x' * 5000} HTTP/1.1\r\nHost: t\r\n\r\n", 400),
        ("GET /geheim HTTP/1.1\r\nHost: t\r\n\r\n", 404),
        ("POST /metrics HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\n\r\ngeheim", 404),
        ("GET /geheim HTTP/1.1\r\nHost: t\r\nExpect: geheim\r\n\r\n", 404),
        ("GET /healthz HTTP/1.1\r\nHost: t\r\nExpect: geheim\r\n\r\n", 200),
        ("GET /hirefire/geheim/info HTTP/1.1\r\nHost: t\r\n\r\n", 404),
    ],
)
async def test_no_answer_and_no_line_of_the_log_repeats_a_request(
    request_: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with port() as client:
        assert client.server.runner is not None
        few = connections.Few(cast(web.Server, client.server.runner.server))
        server = await asyncio.get_running_loop().create_server(few, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(request_.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1).encode())
        answer = (await asyncio.wait_for(reader.read(), 30)).decode()
        writer.close()
        server.close()
    assert answer.split()[1] == str(status)
    assert "geheim" not in (answer + caplog.text).lower()
    assert not [record for record in caplog.records if record.name.startswith("ingest")]
