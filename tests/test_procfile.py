"""The Procfile, as Heroku-like hosts and honcho read it."""

import os
import signal
import sys
from pathlib import Path

from tests.running import answers, free_port, run, running, until

ROOT = Path(__file__).parents[1]


def test_honcho_runs_all_three_and_stops_them(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/events.db",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOST": "127.0.0.1",
        "INGEST_VERIFY": "off",
    }
    argv = [sys.executable, "-m", "honcho", "-f", str(ROOT / "Procfile"), "start", "-p", str(port)]
    with running(argv, environ, tmp_path / "log", cwd=tmp_path) as honcho:
        until(lambda: answers(port), "the endpoint")
        sent = run("simulate", "--events", "500", "--url", f"http://127.0.0.1:{port}/copernica", environ=environ)
        assert sent.returncode == 0, sent.stderr
        until(lambda: "500 events" in run("status", environ=environ).stdout, "500 stored events")
        honcho.send(signal.SIGTERM)
        honcho.wait()
        assert "Traceback" not in honcho.output
        assert "stopped" in honcho.output
