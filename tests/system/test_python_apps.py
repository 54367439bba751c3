"""The examples for applications in Python: FastAPI, Flask, aiohttp, SQLAlchemy and DuckDB."""

import asyncio
import runpy
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis

from ingest import testing
from ingest.testing import Call, SimulatedCopernica
from tests.support.running import exchange, free_port, run, running, until
from tests.support.source import ROOT
from tests.support.stream import records
from workers.handlers import configured
from workers.handlers.jobs import hand_on_job, handle_job
from workers.records import record_of
from workers.store.schema import upgrade
from workers.store.store import Store

FOLDER = ROOT / "examples" / "python-apps"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CLICKS = [testing.click(recipient=f"{name}@example.nl") for name in ("jan", "piet", "jan")]
SERVERS = {
    "fastapi": ["uvicorn", "--app-dir", str(FOLDER), "fastapi_app:app", "--port"],
    "flask": ["flask", "--app", str(FOLDER / "flask_app.py"), "run", "--port"],
}


def status(call: Call) -> int:
    async def send() -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.post(call.url, data=call.body, headers=call.headers) as answer,
        ):
            return answer.status

    return asyncio.run(send())


def is_up(port: int) -> bool:
    try:
        return exchange(port, b"GET / HTTP/1.0\r\nHost: t\r\n\r\n", seconds=1.0).startswith(b"HTTP/1")
    except OSError:
        return False


def store_of(url: str) -> Store:
    """A database that has these clicks, which wait for handlers."""
    upgrade(url)
    store = Store.open(url)
    store.add(CLICKS, hand_on={event.delivery_id: record_of(event) for event in CLICKS})
    return store


@pytest.mark.parametrize("framework", SERVERS)
def test_an_application_takes_what_workers_pass_on(
    framework: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, database = free_port(), f"sqlite:///{tmp_path}/events.db"
    url = f"http://127.0.0.1:{port}/hooks"
    for name, value in (
        ("REDIS_URL", redis_url),
        ("DATABASE_URL", database),
        ("INGEST_FORWARD_URL", url),
        ("INGEST_FORWARD_SECRET", SECRET),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(configured, "_known", {})
    server = [sys.executable, "-m", *SERVERS[framework], str(port)]
    its = {"INGEST_FORWARD_SECRET": SECRET, "PYTHONDONTWRITEBYTECODE": "1"}
    with store_of(database), running(server, its, tmp_path / "log", cwd=tmp_path) as app:
        until(lambda: is_up(port), "the application")
        hand_on_job()
        assert handle_job(f"forward:127.0.0.1:{port}/hooks") == {"done": 3, "unwanted": 0, "failed": 0}
        until(lambda: app.output.count("click jan@example.nl") == 2, "what it prints")
        stranger = testing.forwarded(url, CLICKS[0], "whsec_QW5vdGhlcg==")
        assert status(stranger) == 401
        assert "Traceback" not in app.output


def test_an_aiohttp_application_takes_calls_beside_its_pages(
    redis_url: str, client: redis.Redis, simulated_copernica: SimulatedCopernica, tmp_path: Path
) -> None:
    port = free_port()
    source = (FOLDER / "aiohttp_app.py").read_text()
    (tmp_path / "app.py").write_text(source.replace("port=8000", f"port={port}"))
    environ = {"REDIS_URL": redis_url, **simulated_copernica.environ}
    with running([sys.executable, "app.py"], environ, tmp_path / "log", cwd=tmp_path) as app:
        until(lambda: is_up(port), "the application")
        call = simulated_copernica.signed(f"http://127.0.0.1:{port}/copernica", CLICKS[0])
        assert status(call) == 200
        assert status(simulated_copernica.signed(call.url, CLICKS[0], age=4000)) == 401
    assert len(records(client)) == 1
    assert "Traceback" not in app.output


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(FOLDER / name), run_name=name)


def test_events_are_read_with_sqlalchemy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = f"sqlite:///{tmp_path}/events.db"
    monkeypatch.setenv("DATABASE_URL", database)
    store_of(database).close()
    names = example("with_sqlalchemy.py")
    assert names["most_active"]() == [("jan@example.nl", 2), ("piet@example.nl", 1)]
    names["engine"].dispose()


def test_what_was_exported_is_read_with_duckdb(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/events.db"}
    store_of(environ["DATABASE_URL"]).close()
    done = run("export", "--to", "warehouse", "--day", "2026-11-20", environ=environ, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ((_hour, opens, clicks),) = example("with_duckdb.py")["per_hour"](str(tmp_path / "warehouse"))
    assert (opens, clicks) == (0, 3)
