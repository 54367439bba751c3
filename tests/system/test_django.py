"""The example project in Django, as its README says: from a signed call to a row of its own."""

import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.support.django_project import PROJECT
from tests.support.running import answers, clean_environ, free_port, running, until


def test_a_signed_call_reaches_a_handler_and_a_receiver_of_an_app(tmp_path: Path) -> None:
    port = free_port()
    environ = {
        "SHOP_DATA": str(tmp_path),
        "PORT": str(port),
        "INGEST_CONSOLE_PORT": str(free_port()),
        "INGEST_ALLOW_ROOT": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            check=False,
            cwd=PROJECT,
            env=clean_environ() | environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("migrate")
    with running([sys.executable, "manage.py", "copernica", "dev"], environ, tmp_path / "dev.log", PROJECT) as dev:
        until(lambda: "Now type" in dev.output and answers(port), "the endpoint")
        run("copernica", "simulate", "--events", "300")
        until(lambda: noted(tmp_path, "last_click") and noted(tmp_path, "bounced"), "rows of the shop")
        assert '"type":"click"' in run(
            "copernica", "events", "--type", "click", "--limit", "1", "--format", "jsonl"
        )
        assert dev.stop(30) == 0


def noted(folder: Path, column: str) -> int:
    with sqlite3.connect(folder / "shop.sqlite3") as database:
        return int(database.execute(f"SELECT count(*) FROM shop_contact WHERE {column}").fetchone()[0])
