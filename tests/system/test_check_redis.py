"""`ingest check` fails where Redis answers, but would not take a call, and warns where it would not keep it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rq.suspension import resume, suspend

from ingest.redis_client import connect
from ingest.stream import trial
from ingest.stream.consumer import Consumer
from ingest.stream.keys import RQ_SUSPENDED
from ingest.stream.known_streams import KnownStreams, Standing
from tests.support.cli import findings, found
from tests.support.redis_proxy import redis_proxy
from tests.support.running import free_port, until
from tests.support.source import ROOT
from tests.support.valkey import valkey

#: What is done to the server, and what the finding quotes of its refusal.
REFUSALS: dict[str, tuple[list[str], str]] = {
    "a replica": (["REPLICAOF 127.0.0.1 1"], "READONLY"),
    "a replica that has lost its primary": (
        ["REPLICAOF 127.0.0.1 1", "CONFIG SET replica-serve-stale-data no"],
        "MASTERDOWN",
    ),
    "too few replicas": (["CONFIG SET min-replicas-to-write 3"], "NOREPLICAS"),
    "full": (["CONFIG SET maxmemory 1"], "OOM"),
}


@pytest.fixture
def as_it_was(client: Any) -> Iterator[None]:
    names = ("maxmemory", "min-replicas-to-write", "replica-serve-stale-data", "maxmemory-policy", "appendfsync")
    before = {name: client.config_get(name)[name] for name in names}
    yield
    client.execute_command("REPLICAOF NO ONE")
    for name, value in before.items():
        client.config_set(name, value)
    client.execute_command("ACL DELUSER reader")


@pytest.mark.usefixtures("as_it_was")
@pytest.mark.parametrize("name", REFUSALS)
def test_a_redis_that_takes_no_calls_fails_the_check_in_one_sentence(
    client: Any, redis_url: str, sqlite_url: str, tmp_path: Path, name: str
) -> None:
    commands, said = REFUSALS[name]
    for command in commands:
        client.execute_command(*command.split())
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_DATA_DIR": str(tmp_path)}
    code, found = findings(environ | {"INGEST_VERIFY": "off"})
    wrong = [text for level, text in found.values() if level == "wrong"]
    assert code == 1
    assert len(wrong) == 1, wrong
    assert said in wrong[0]
    assert "Traceback" not in wrong[0]


@pytest.mark.usefixtures("as_it_was")
@pytest.mark.parametrize(
    ("rights", "said"),
    [
        ("~* +@read +@connection +info +time", "NOPERM"),
        ("~other:* +@all", "NOPERM"),
        ("~ingest:* +@all -xadd", "no permissions to run the 'xadd' command"),
    ],
)
def test_a_user_who_may_not_write_fails_the_check(
    client: Any, redis_url: str, sqlite_url: str, tmp_path: Path, rights: str, said: str
) -> None:
    client.execute_command("ACL", "SETUSER", "reader", "on", ">geheim", *rights.split())
    url = redis_url.replace("unix://", "unix://reader:geheim@")
    environ = {"REDIS_URL": url, "DATABASE_URL": sqlite_url, "INGEST_DATA_DIR": str(tmp_path)}
    code, found = findings(environ | {"INGEST_VERIFY": "off"})
    wrong = [text for level, text in found.values() if level == "wrong"]
    assert code == 1
    assert len(wrong) == 1, wrong
    assert said in wrong[0]
    assert "geheim" not in str(found)


@pytest.fixture
def environ(redis_url: str, sqlite_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": sqlite_url,
        "INGEST_DATA_DIR": str(tmp_path),
        "INGEST_VERIFY": "off",
    }


def of_redis(environ: dict[str, str]) -> dict[str, str]:
    """What is found about Redis, by code: its level."""
    return {code: level for code, (level, _) in found(environ).items() if code.startswith(("redis-", "workers-"))}


def test_a_redis_that_cannot_be_reached_is_found(environ: dict[str, str]) -> None:
    assert of_redis(environ | {"REDIS_URL": ""}) == {"redis-not-set": "wrong"}
    assert of_redis(environ | {"REDIS_URL": "redis://127.0.0.1:1"}) == {"redis-unreachable": "wrong"}
    stranger = environ["REDIS_URL"].replace("unix://", "unix://nobody:geheim@")
    assert of_redis(environ | {"REDIS_URL": stranger}) == {"redis-refuses": "wrong"}
    assert of_redis(environ | {"REDIS_URL": environ["REDIS_URL"] + "?protocol=3"}) == {"redis-url-options": "risk"}


@pytest.mark.usefixtures("as_it_was")
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("REPLICAOF 127.0.0.1 1", {"redis-replica": "wrong"}),
        ("CONFIG SET min-replicas-to-write 3", {"redis-no-replicas": "wrong"}),
        ("CONFIG SET maxmemory 1", {"redis-full": "wrong", "redis-nearly-full": "risk"}),
        ("CONFIG SET maxmemory 0", {"redis-no-limit": "risk"}),
        ("CONFIG SET maxmemory-policy allkeys-lru", {"redis-evicts": "risk"}),
        ("CONFIG SET maxmemory-policy volatile-ttl", {"redis-evicts-expiring": "risk"}),
        ("CONFIG SET appendfsync everysec", {"redis-fsync": "risk"}),
    ],
)
def test_what_a_redis_is_told_to_do_is_found(
    client: Any, environ: dict[str, str], command: str, expected: dict[str, str]
) -> None:
    client.execute_command(*command.split())
    assert of_redis(environ) == expected


def test_a_primary_that_would_go_on_without_its_replicas_is_found(environ: dict[str, str]) -> None:
    with (
        valkey(free_port()) as primary,
        valkey(free_port(), "--replicaof", f"127.0.0.1 {primary.port}"),
        primary.client() as asked,
    ):
        until(lambda: asked.info("replication")["connected_slaves"] == 1, "the replica")
        assert of_redis(environ | {"REDIS_URL": primary.url}) == {"redis-lone-primary": "risk"}
        asked.config_set("min-replicas-to-write", 1)
        until(lambda: not of_redis(environ | {"REDIS_URL": primary.url}), "a replica that is seen to follow")


@pytest.mark.usefixtures("as_it_was")
@pytest.mark.parametrize(
    ("rights", "code", "named"),
    [
        ("~* &* +@all -config", "redis-config-hidden", "does not show its configuration"),
        ("~* &* +@all -eval", "redis-rights", "calls and jobs need: EVAL (NOPERM"),
        ("~* &* +@all -xautoclaim -blmove", "redis-rights", "need: XAUTOCLAIM, BLMOVE (NOPERM"),
        ("~ingest:* &* +@all", "redis-rights", "need: the keys rq:* (NOPERM"),
        ("~rq:* &* +@all", "redis-rights", "the keys ingest:* (NOPERM"),
        (
            "~ingest:{0}:trial:* ~ingest:{0}:[^c]* ~rq:* &* +@all",
            "redis-rights",
            "the key ingest:{0}:counts, the key ingest:{0}:coverage, the key ingest:{0}:catch-up, "
            "the key ingest:{0}:clock (NOPERM",
        ),
        ("~* &ingest:* +@all", "redis-rights", "the channel rq:pubsub:trial (NOPERM"),
        ("~* &rq:* +@all", "redis-rights", "PUBLISH, the channel ingest:{0}:stored (NOPERM"),
        ("~* &* +ping", "redis-rights", "INFO"),
    ],
)
def test_what_a_user_may_not_do_is_found_and_named(
    client: Any, environ: dict[str, str], rights: str, code: str, named: str
) -> None:
    client.execute_command("ACL", "SETUSER", "reader", "on", ">geheim", "resetchannels", *rights.split())
    environ["REDIS_URL"] = environ["REDIS_URL"].replace("unix://", "unix://reader:geheim@")
    seen = found(environ)
    assert named.casefold() in seen[code][1].casefold()
    assert client.keys("*trial*") == []


#: Rights that need no trial: the first is needed to ask at all, the second by a URL with the number of a database,
#: and redis-py does without the third.
NOT_TRIED = {"+ping", "+select", "+client|setinfo"}


def test_a_user_who_lacks_one_of_the_rights_that_are_shipped_is_found(client: Any, redis_url: str) -> None:
    name, *rules = (ROOT / "deploy" / "redis.acl").read_text().replace("CHANGE-ME", "geheim").split()[1:]
    url = redis_url.replace("unix://", f"unix://{name}:geheim@")

    def refused(*but: str) -> list[str]:
        client.execute_command("ACL", "SETUSER", name, "reset", *rules, *but)
        with connect(url) as user:
            return [refusal.what.lower().replace(" ", "|") for refusal in trial.refusals(user)]

    try:
        assert refused() == []
        commands = {rule for rule in rules if rule.startswith("+")}
        assert len(commands) > 40
        for command in sorted(commands - NOT_TRIED):
            assert command.removeprefix("+") in refused(f"-{command.removeprefix('+')}")
    finally:
        client.execute_command("ACL", "DELUSER", name)


def test_a_suspended_rq_is_found(client: Any, environ: dict[str, str]) -> None:
    suspend(client)
    assert client.exists(RQ_SUSPENDED)
    assert of_redis(environ) == {"workers-suspended": "wrong"}
    resume(client)
    assert of_redis(environ) == {}


def test_a_server_that_lacks_a_command_is_found(environ: dict[str, str]) -> None:
    with valkey(0, "--rename-command", "EVAL", "", "--rename-command", "BLMOVE", "") as server:
        code, text = "redis-lacks-commands", found(environ | {"REDIS_URL": server.url})
        assert "need: BLMOVE, " in text[code][1]
        assert text[code][0] == "wrong"


def test_a_cluster_is_found(environ: dict[str, str]) -> None:
    bus = str(free_port())
    with valkey(free_port(), "--cluster-enabled", "yes", "--cluster-port", bus) as server:
        assert of_redis(environ | {"REDIS_URL": server.url}) == {"redis-cluster": "wrong"}


def test_a_server_that_keeps_nothing_on_disk_is_found(environ: dict[str, str]) -> None:
    with valkey(0, "--appendonly", "no") as server:
        assert of_redis(environ | {"REDIS_URL": server.url}) == {"redis-no-aof": "risk"}


def test_a_server_whose_disk_fails_is_found(environ: dict[str, str]) -> None:
    with valkey(0, "--appendonly", "no", "--save", "1 1") as server:
        (server.folder / "dump.rdb").mkdir()  # no file can take its place
        with server.client() as client:
            client.set("x", 1)
            client.bgsave()
            until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "a snapshot that fails")
        assert of_redis(environ | {"REDIS_URL": server.url}) == {"redis-disk": "wrong"}
        (server.folder / "dump.rdb").rmdir()  # without its last snapshot it would not end


def test_a_server_that_is_too_old_is_found(environ: dict[str, str]) -> None:
    said = b"redis_version:6.0.16\r\nrole:master\r\nmaxmemory:9\r\nused_memory:1\r\n"
    with redis_proxy(environ["REDIS_URL"].removeprefix("unix://")) as proxy:
        proxy.mood = lambda command: b"$%d\r\n%b\r\n" % (len(said), said) if command == b"INFO" else None
        level, text = found(environ | {"REDIS_URL": proxy.url})["redis-too-old"]
    assert (level, "Redis 6.0.16 is too old" in text) == ("wrong", True)


def test_any_other_refusal_is_found(environ: dict[str, str]) -> None:
    with redis_proxy(environ["REDIS_URL"].removeprefix("unix://")) as proxy:
        proxy.mood = lambda command: b"-ODD mood\r\n" if command == b"XADD" else None
        level, text = found(environ | {"REDIS_URL": proxy.url})["redis-refuses-writes"]
    assert (level, "need: XADD" in text, "ODD mood" in text) == ("wrong", True, True)


def test_a_trial_leaves_nothing_behind(client: Any) -> None:
    assert trial.refusals(client) == []
    assert client.keys("*") == []


def test_several_stream_servers_are_each_tried_and_one_that_is_none_is_found(
    environ: dict[str, str], client: Any
) -> None:
    with valkey() as other:
        environ |= {"INGEST_STREAM_URLS": f"{environ['REDIS_URL']},{other.url}"}
        assert of_streams(environ) == {}
        environ["INGEST_STREAM_URLS"] += f",{other.url}?db=1"
        assert of_streams(environ) == {"stream-same": "wrong"}
        with other.client() as theirs:
            Consumer(theirs).close(is_closed=True)
        assert of_streams(environ) == {"stream-same": "wrong", "stream-closed": "risk"}
        other.kill()
        assert of_redis(environ) == {"redis-unreachable": "wrong"}
    KnownStreams(client).note({"stream-9:6379": Standing(3, is_drained=False)})
    assert of_streams(environ | {"INGEST_STREAM_URLS": ""}) == {"stream-left": "wrong"}


def of_streams(environ: dict[str, str]) -> dict[str, str]:
    return {code: level for code, (level, _) in found(environ).items() if code.startswith("stream-")}
