"""`ingest check` fails where Redis answers, but would not take a call."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import findings

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
    names = ("maxmemory", "min-replicas-to-write", "replica-serve-stale-data")
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
