"""Events in a table of ClickHouse: its own engine (chdb), behind a server of ours that speaks its HTTP."""

import asyncio
import base64
import http.client
import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ingest.copernica.events import MICROS, Event, EventType
from ingest.errors import SettingsError
from ingest.settings import Settings
from tests.benchmarks.peers import installed
from tests.support.builders import FORM, NINE, delivery_id, event
from tests.support.cli import findings, typed
from tests.support.running import PATIENCE, all_running, answers, free_port, until
from tests.support.source import ROOT
from workers.handlers.clickhouse import ClickHouse
from workers.handlers.configured import all_handlers
from workers.handlers.dead_letters import Wanted, letters
from workers.handlers.options import MAX_BATCH
from workers.handlers.registry import GiveUp, TryLater
from workers.store.schema import upgrade
from workers.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
USER = "ingest:ge heim"
SIGNED = "ingest:ge%20heim"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where it listens."""
    try:
        python = installed.python("chdb", "chdb==4.4.0")
    except installed.NotInstalled as error:
        pytest.skip(f"CLICKHOUSE IS NOT TESTED: {error}")
    port = free_port()
    program = ROOT / "tests" / "support" / "clickhouse_server.py"
    process = subprocess.Popen(
        [str(python), "-P", str(program), f"{port}", USER], cwd=tmp_path_factory.mktemp("chdb")
    )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=60).close()
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def ask(server: str, query: str) -> list[dict[str, object]]:
    headers = {"Authorization": f"Basic {base64.b64encode(USER.encode()).decode()}"}
    url = f"http://{server}/?query={urllib.parse.quote(query + ' FORMAT JSONEachRow')}"
    with urllib.request.urlopen(urllib.request.Request(url, b"", headers), timeout=60) as answer:
        return [json.loads(line) for line in answer.read().splitlines()]


def insert(url: str, events: list[Event]) -> None:
    async def run() -> None:
        table = ClickHouse.of(url)
        try:
            await table.insert(events)
        finally:
            await table.close()

    asyncio.run(run())


def test_what_is_inserted_is_there_once_however_often(server: str) -> None:
    url = f"http://{SIGNED}@{server}/default/once"
    assert typed("clickhouse", "--create", environ={"INGEST_CLICKHOUSE_URL": url}).exit_code == 0
    odd = event(
        2, type=EventType.CLICK, url="https://x/?a=\"b'\\\n\t", tags=[], recipient="Zoë", code=-(2**63),
        raw=b"a=1&a=2", raw_type=FORM, payload={"a": {"b": [None, 'x"y\\']}, "nul": "\x00", "lone": "\udcff"},
        occurred_at=NINE + 999_999,
    )  # fmt: skip  # a list to be read across
    for _ in range(2):
        insert(url, [event(1), odd, *(event(number) for number in range(10, 5_100))])
    assert ask(server, "SELECT count() AS n FROM once FINAL") == [{"n": 5_092}]
    (row,) = ask(
        server, f"SELECT * EXCEPT inserted_at FROM once FINAL WHERE delivery_id = '{delivery_id(2).hex()}'"
    )
    assert json.loads(str(row["payload"])) == {"a": {"b": [None, 'x"y\\']}, "nul": "\ufffd", "lone": "\ufffd"}
    assert (row["url"], row["tags"], row["recipient"]) == (odd.url, [], "Zoë")
    assert (row["occurred_at"], row["type"]) == ("2026-11-20 09:00:00.999999", "click")
    assert (int(str(row["code"])), row["message_id"], row["mailing"]) == (-(2**63), "5fd2", None)
    assert ask(server, "SELECT uniqExact(delivery_id) AS n FROM once") == [{"n": 5_092}]


def test_times_long_ago_are_no_dates(server: str) -> None:
    url = f"http://{SIGNED}@{server}/default/times"
    assert typed("clickhouse", "--create", environ={"INGEST_CLICKHOUSE_URL": url}).exit_code == 0
    seconds = [0, 5, 12_345_678, 20_201_231, 999_999_999, 9_999_999_999]
    insert(url, [event(number, occurred_at=second * MICROS) for number, second in enumerate(seconds, 1)])
    found = ask(server, "SELECT toInt64(toUnixTimestamp64Second(occurred_at)) AS s FROM times FINAL ORDER BY s")
    assert [int(str(row["s"])) for row in found] == seconds


@pytest.mark.parametrize(
    ("headers", "text", "error"),
    [
        ({}, "It works!", "NotClickHouse"),
        ({"X-ClickHouse-Query-Id": "1"}, "Code: 241. DB::Exception: Memory limit of geheim", "code 241"),
        ({"X-ClickHouse-Query-Id": "1"}, "", None),
    ],
)
def test_a_200_alone_inserts_nothing(headers: dict[str, str], text: str, error: str | None) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text, headers=headers)

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/", answer)
        async with TestServer(app) as there:
            table = ClickHouse.of(f"http://127.0.0.1:{there.port}/default/x")
            try:
                await table.insert([event(1)])
            finally:
                await table.close()

    if error is None:
        asyncio.run(run())
    else:
        with pytest.raises(TryLater, match=error) as refused:
            asyncio.run(run())
        assert "geheim" not in str(refused.value)


def test_what_it_refuses_is_told_apart_from_what_is_in_its_way(server: str) -> None:
    url = f"http://{SIGNED}@{server}/default/refusing"
    with pytest.raises(TryLater, match="code 60"):
        insert(url, [event(1)])
    ask(server, "CREATE TABLE refusing (delivery_id String, type Int8)".replace(" FORMAT", ""))
    with pytest.raises((GiveUp, TryLater), match="code") as refused:
        insert(url, [event(1)])
    assert "jan@" not in str(refused.value)
    with pytest.raises(TryLater, match="code 516"):
        insert(f"http://ingest:wrong@{server}/default/x", [event(1)])
    with pytest.raises(TryLater, match="does not answer"):
        insert("http://127.0.0.1:1/default/x", [event(1)])


def test_check_really_tries_and_tells_no_secret(server: str, sqlite_url: str, tmp_path: object) -> None:
    environ = {"DATABASE_URL": sqlite_url, "INGEST_DATA_DIR": f"{tmp_path}"}
    url = f"http://{SIGNED}@{server}/default/checked"
    assert findings(environ | {"INGEST_CLICKHOUSE_URL": url})[1]["clickhouse"] == (
        "wrong", f"There is no table http://{server}/default/checked: make it with `ingest clickhouse --create`.",
    )  # fmt: skip  # a list to be read across
    typed("clickhouse", "--create", environ=environ | {"INGEST_CLICKHOUSE_URL": url})
    assert findings(environ | {"INGEST_CLICKHOUSE_URL": url})[1]["clickhouse"][0] == "ok"
    wrong = f"http://ingest:falsch@{server}/default/checked"
    level, text = findings(environ | {"INGEST_CLICKHOUSE_URL": wrong})[1]["clickhouse"]
    assert (level, "wrong user or password" in text, "falsch" in text) == ("wrong", True, False)


@pytest.mark.parametrize(
    "url",
    [
        "clickhouse:9000",
        "http://h/a/b/c",
        "http://h/a.b/c",
        "http://h/a/b#types=x",
        "http://u:geheim@h:x/a/b",
        "ftp://h/",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        all_handlers(Settings.read({"INGEST_CLICKHOUSE_URL": url}))
    assert "geheim" not in str(refused.value)


def test_it_is_a_handler_of_large_batches() -> None:
    handler = all_handlers(Settings.read({"INGEST_CLICKHOUSE_URL": "http://h/#types=open&concurrency=2"}))[
        "clickhouse"
    ]
    assert (handler.batch, sorted(handler.types), handler.concurrency) == (MAX_BATCH, ["open"], 2)


class Way(HTTPServer):
    """The way to ClickHouse, on which the answer of the first insert that it took is lost."""

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.beyond = server
        #: Rows of each insert that was taken.
        self.taken: list[int] = []


class Passing(BaseHTTPRequestHandler):
    """Passes a question on, and its answer back."""

    def do_POST(self) -> None:
        way = self.server
        assert isinstance(way, Way)
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        there = http.client.HTTPConnection(way.beyond, timeout=60)
        there.request("POST", self.path, body, {"Authorization": self.headers["Authorization"] or ""})
        with there.getresponse() as answer:
            text = answer.read()
        there.close()
        if answer.status == 200:
            way.taken.append(len(body.splitlines()))
            if len(way.taken) == 1:
                return  # closes the connection without a word
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.startswith("X-ClickHouse"):
                self.send_header(name, value)
        self.send_header("Content-Length", f"{len(text)}")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def way_to(server: str) -> Iterator[Way]:
    with Way(server) as way:
        thread = threading.Thread(target=way.serve_forever)
        thread.start()
        try:
            yield way
        finally:
            way.shutdown()
            thread.join()


def test_each_call_that_an_endpoint_took_is_a_row_once(
    server: str, redis_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    typed("clickhouse", "--create", environ={"INGEST_CLICKHOUSE_URL": f"http://{SIGNED}@{server}/default/whole"})
    ask(server, "ALTER TABLE whole ADD CONSTRAINT no_evil CHECK message_id != 'evil'")
    upgrade(sqlite_url)
    port = free_port()
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "PORT": f"{port}", "INGEST_VERIFY": "off"}
    commands = {"web": ("serve",), "worker": ("worker",), "handlers": ("worker", "--queue", "handlers")}
    with way_to(server) as way, Store.open(sqlite_url) as store:
        environ["INGEST_CLICKHOUSE_URL"] = f"http://{SIGNED}@127.0.0.1:{way.server_port}/default/whole"
        with all_running(commands, environ, tmp_path):
            until(lambda: answers(port), "the endpoint", 3 * PATIENCE)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            for number in range(50):
                name = "evil" if number == 25 else f"{number}"
                connection.request("POST", "/copernica", f"type=open&id={name}")
                with connection.getresponse() as answer:
                    assert answer.status == 200
                    answer.read()
            connection.close()
            count = "SELECT uniqExact(message_id) AS n FROM whole"
            until(lambda: ask(server, count) == [{"n": 49}], "all rows", 4 * PATIENCE)
            until(lambda: sum(way.taken) > 49 and list(letters(store, Wanted())), "the dead letter", 4 * PATIENCE)
        (letter,) = letters(store, Wanted())
    assert ask(server, "SELECT count() AS n FROM whole FINAL") == [{"n": 49}]
    assert sum(way.taken) == 49 + way.taken[0]  # those whose answer was lost were inserted twice
    assert (letter.handler, b"id=evil" in letter.record.body, "code 469" in letter.error) == (
        "clickhouse", True, True,
    )  # fmt: skip
