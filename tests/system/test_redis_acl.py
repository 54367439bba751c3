"""The user of `deploy/redis.acl` may do all that the program does, and nothing else."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from ingest.redis_client import connect
from ingest.stream.keys import Keys
from tests.support.running import all_running, answers, free_port, run, until
from tests.support.site import Site
from tests.support.source import ROOT
from tests.support.valkey import Valkey, valkey

#: The line, without the word with which it begins.
RULES = (ROOT / "deploy" / "redis.acl").read_text().split()[1:]
#: What it allows that this test does not meet, and when the program needs it.
RARE = {
    "select": "a URL that names another database than 0",
    "role": "Sentinels, of which there are none here",
    "unwatch": "rq gives up a transaction",
}
HANDLERS = """
from workers import on


@on(backoff=[0.1, 0.1], rate="1000/s")
def failing(event):
    if int(event.payload["number"]) % 50 == 0:
        raise ValueError("one in fifty")
"""
CALLS = 200


@pytest.fixture
def server() -> Iterator[Valkey]:
    with valkey(free_port()) as server:
        yield server


def allow(admin: redis.Redis, *but: str) -> str:
    """Make the user; the URL with which it connects."""
    name, *rules = ["geheim" if rule == ">CHANGE-ME" else rule for rule in RULES]
    rules = [">geheim" if rule == "geheim" else rule for rule in rules]
    admin.execute_command("ACL", "SETUSER", name, "reset", *rules, *but)  # type: ignore[no-untyped-call]
    kwargs: Any = admin.connection_pool.connection_kwargs
    return f"redis://{name}:geheim@127.0.0.1:{kwargs['port']}/0"


def test_the_line_is_one_that_servers_read() -> None:
    (line,) = (ROOT / "deploy" / "redis.acl").read_text().splitlines()
    assert line.startswith("user ingest on >CHANGE-ME ")


def test_it_is_enough_for_everything_and_holds_nothing_more(server: Valkey, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HANDLERS)
    with connect(server.url) as admin, ExitStack() as stack:
        url = allow(admin)
        site = Site(server, tmp_path)
        site.environ |= {"REDIS_URL": url, "INGEST_HANDLERS": "mine", "PYTHONPATH": str(tmp_path)}
        admin.config_resetstat()
        commands = {
            "web": ("serve",),
            "worker": ("worker",),
            "handlers": ("worker", "--queue", "handlers"),
            "follower": ("events", "--follow"),
        }
        processes = stack.enter_context(all_running(commands, site.environ, tmp_path))
        until(lambda: answers(site.port), "the endpoint")
        until(lambda: admin.scard("rq:workers") == 2, "the workers")
        until(lambda: admin.pubsub_numsub(Keys().stored)[0][1], "the follower")
        assert site.send(CALLS).complete
        site.wait_for(CALLS)
        # Those that fail are tried again, which rq's scheduler sees to, and end as dead letters.
        until(
            lambda: run("failed", "list", "--json", environ=site.environ).stdout.count("one in fifty"),
            "dead letters",
        )
        for command in (
            ("check",),
            ("status",),
            ("drain",),
            ("worker", "--burst"),
            ("failed", "retry", "--yes"),
            ("erase", "--recipient", "a@example.nl", "--yes"),
        ):
            done = run(*command, environ=site.environ)
            assert "NOPERM" not in done.stdout + done.stderr, done.stdout + done.stderr
        checked = run("check", environ=site.environ)
        assert "Redis takes what calls and jobs need" in checked.stdout
        for process in processes.values():
            process.stop()
        # What `ingest check` may do without: then it says less about the append-only file.
        assert [one for one in admin.acl_log() if one["object"] != "config|get"] == []
        used = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
        allowed = {rule.removeprefix("+") for rule in RULES if rule.startswith("+")}
        assert allowed - used - RARE.keys() == set()
        assert allowed.isdisjoint({"flushall", "flushdb", "keys", "config|get", "acl", "shutdown", "debug"})


def test_without_one_of_its_rights_serve_refuses_to_start(server: Valkey, tmp_path: Path) -> None:
    with connect(server.url) as admin:
        site = Site(server, tmp_path)
        for missing in ("-eval", "-hincrby", "-@all"):
            site.environ["REDIS_URL"] = allow(admin, missing)
            refused = run("serve", environ=site.environ)
            assert refused.returncode == 1, missing
            assert "deploy/redis.acl" in refused.stderr, refused.stderr
            assert "Traceback" not in refused.stderr
        site.environ["REDIS_URL"] = allow(admin).replace("geheim", "wrong")
        refused = run("serve", environ=site.environ)
        assert refused.returncode == 1
        assert "refuses our credentials" in refused.stderr
