"""The Procfile, as Heroku-like hosts and honcho read it."""

import os
import signal
import sys
from pathlib import Path

from tests.support.running import answers, free_port, run, running, until

ROOT = Path(__file__).parents[2]


def test_honcho_makes_the_tables_runs_all_three_and_stops_them(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/events.db",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOST": "127.0.0.1",
        "INGEST_VERIFY": "off",
    }
    honcho_with = [sys.executable, "-m", "honcho", "-f", str(ROOT / "Procfile")]
    with running([*honcho_with, "start", "release"], environ, tmp_path / "release.log", cwd=tmp_path) as release:
        assert release.wait() == 0
        assert "The schema is now at" in release.output
    # Each by name: `release` ends, and honcho would end all others with it.
    argv = [*honcho_with, "start", "-p", str(port), "web", "worker", "handlers"]
    with running(argv, environ, tmp_path / "log", cwd=tmp_path) as honcho:
        until(lambda: answers(port), "the endpoint")
        sent = run("simulate", "--events", "500", "--url", f"http://127.0.0.1:{port}/copernica", environ=environ)
        assert sent.returncode == 0, sent.stderr
        until(lambda: "500 events" in run("status", environ=environ).stdout, "500 stored events")
        honcho.send(signal.SIGTERM)
        honcho.wait()
        assert "Traceback" not in honcho.output
        assert "stopped" in honcho.output
