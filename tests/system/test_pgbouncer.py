"""PostgreSQL behind PgBouncer in transaction mode: each transaction may be on another connection of the server."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import pgbouncer
from tests.support.postgres import postgres
from tests.support.running import all_running, answers, run, until
from tests.support.site import Site
from tests.support.valkey import valkey
from workers.store.store import Store

HANDLERS = """
from workers import on


@on()
def seen(event):
    print("handled", event.payload["number"], flush=True)
"""
CALLS = 2000


@pytest.mark.skipif(pgbouncer.binary() is None, reason="PgBouncer is not installed")
def test_everything_works_through_it(tmp_path: Path) -> None:
    with postgres() as database, valkey() as server, pgbouncer.pgbouncer(database) as pooled, ExitStack() as stack:
        database.new_database("events")
        url = pooled.replace("/postgres", "/events")
        (tmp_path / "mine.py").write_text(HANDLERS)
        site = Site(server, tmp_path)
        site.environ |= {"DATABASE_URL": url, "INGEST_HANDLERS": "mine", "PYTHONPATH": str(tmp_path)}
        upgraded = run("db", "upgrade", environ=site.environ)
        assert upgraded.returncode == 0, upgraded.stderr
        commands = {
            "web": ("serve",),
            "worker": ("worker",),
            "another": ("worker",),
            "handlers": ("worker", "--queue", "handlers"),
            "more": ("worker", "--queue", "handlers"),
        }
        processes = stack.enter_context(all_running(commands, site.environ, tmp_path))
        until(lambda: answers(site.port), "the endpoint")
        for _ in range(4):
            assert site.send(CALLS // 4).complete
        with Store.open(url) as store:
            until(lambda: store.stored() == CALLS, "the events")
        until(
            lambda: sum(processes[name].output.count("handled") for name in ("handlers", "more")) == CALLS,
            "the handlers' calls",
        )
        for command in (("stats",), ("status",), ("events", "--format", "jsonl"), ("failed", "list")):
            done = run(*command, environ=site.environ)
            assert (done.returncode < 2, "Traceback" in done.stderr) == (True, False), done.stderr
        checked = run("check", environ=site.environ)
        assert "holds 2,000 events" in checked.stdout
        for name, process in processes.items():
            assert process.alive, name
            assert "Traceback" not in process.output, name
