"""The Procfile, as Heroku-like hosts and honcho read it."""

import os
import signal
import sys
from pathlib import Path

from tests.support.running import answers, exchange, free_port, run, running, until

ROOT = Path(__file__).parents[2]
IS_ALIVE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def test_honcho_makes_the_tables_runs_all_four_and_stops_them(redis_url: str, tmp_path: Path) -> None:
    port, console_port = free_port(), free_port()
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/events.db",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOST": "127.0.0.1",
        "INGEST_VERIFY": "off",
        "INGEST_CONSOLE_PORT": str(console_port),
    }
    honcho_with = [sys.executable, "-m", "honcho", "-f", str(ROOT / "Procfile")]
    with running([*honcho_with, "start", "release"], environ, tmp_path / "release.log", cwd=tmp_path) as release:
        assert release.wait() == 0
        assert "The schema is now at" in release.output
    # Each by name: `release` ends, and honcho would end all others with it.
    argv = [*honcho_with, "start", "-p", str(port), "web", "worker", "handlers", "console"]
    with running(argv, environ, tmp_path / "log", cwd=tmp_path) as honcho:
        until(lambda: answers(port), "the endpoint")
        until(lambda: b" 200 " in exchange(console_port, IS_ALIVE), "the console")
        sent = run("simulate", "--events", "500", "--url", f"http://127.0.0.1:{port}/copernica", environ=environ)
        assert sent.returncode == 0, sent.stderr
        until(lambda: "500 events" in run("status", environ=environ).stdout, "500 stored events")
        honcho.send(signal.SIGTERM)
        honcho.wait()
        assert "Traceback" not in honcho.output
        assert "stopped" in honcho.output
