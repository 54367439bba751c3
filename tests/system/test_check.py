"""Each finding of `ingest check` appears where its real cause is: settings, keys, files, databases, the API."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dns.resolver
import psycopg
import pytest
from rq.suspension import suspend

from ingest import disks, health
from ingest.setting_sources import told
from ingest.simulation.api_faults import Faults
from ingest.simulation.fake_api import FakeCopernica
from tests.chaos.clocks import Clocks
from tests.support.cli import found, typed
from tests.support.disk import Disk
from tests.support.dnsserver import Behaviour, DnsServer
from tests.support.fake_copernica import TOKEN, fake_copernica
from tests.support.postgres import EmptyDatabase, Server, binaries, postgres
from tests.support.running import answers, exchange, ingest, run, running, until
from tests.support.signing import Signer, dkim_record
from tests.support.site import Site
from tests.support.valkey import valkey
from workers.store import sqlite

KEY = "one._domainkey.copernica.com"
RECORD = dkim_record(Signer().public)
#: Nothing listens there.
NOWHERE = "redis://127.0.0.1:1"
NETWORK = "server:/export / nfs4 rw 0 0\n"


@pytest.fixture
def environ(redis_url: str, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A site of which everything but the length of time that events are kept is well."""
    monkeypatch.chdir(tmp_path)
    for path in tmp_path.glob("events.db*"):
        path.chmod(0o600)
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": sqlite_url,
        "INGEST_VERIFY": "off",
        "INGEST_SPOOL_DIR": str(tmp_path / "spool"),
        "INGEST_SPOOL_MAX": "1MiB",
    }


@pytest.fixture
def dns_server() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
def verifying(environ: dict[str, str], dns_server: DnsServer) -> dict[str, str]:
    host, port = dns_server.address
    verify = {"INGEST_VERIFY": "on", "INGEST_ACCOUNTS": "1", "INGEST_DNS_SERVERS": f"{host}:{port}"}
    return environ | verify


def test_a_site_of_which_all_is_well_is_said_to_be_well(environ: dict[str, str]) -> None:
    assert set(found(environ)) == {"signatures-off", "retention-off", "token-missing"}


def test_what_is_found_is_named_by_its_code_for_people_too(environ: dict[str, str]) -> None:
    done = typed("check", environ=environ)
    last = done.stdout.splitlines()[-1]
    assert last == "What to do about them is in docs/runbook.md: signatures-off, retention-off, token-missing"


# --- whose calls are taken ---


def test_accounts_and_keys_that_are_missing_are_found(environ: dict[str, str]) -> None:
    environ["INGEST_VERIFY"] = "on"
    assert found(environ)["accounts-missing"][0] == "wrong"
    level, text = found(environ | {"INGEST_ACCOUNTS": "1", "INGEST_KEYS": "/no/file"})["keys-unreadable"]
    assert (level, "/no/file" in text) == ("wrong", True)


def test_what_dns_says_of_a_key_is_found(verifying: dict[str, str], dns_server: DnsServer) -> None:
    seen = found(verifying)
    assert (seen["key-unusable"][0], seen["hosts-any"][0]) == ("risk", "risk")
    assert found(verifying, "--key-id", "other.copernica.com")["key-unusable"][0] == "wrong"
    dns_server.put(KEY, RECORD)
    assert not {"key-unusable", "key-testing"} & found(verifying).keys()
    dns_server.put(KEY, RECORD + "; t=y")
    assert found(verifying | {"INGEST_HOSTS": "a.nl"})["key-testing"][0] == "risk"
    dns_server.otherwise = Behaviour.SERVFAIL
    assert found(verifying, "--key-id", "other.copernica.com")["dns-silent"][0] == "wrong"


def test_a_machine_without_resolvers_is_told_so(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", none)
    level, text = found(environ | {"INGEST_VERIFY": "on", "INGEST_ACCOUNTS": "1"})["dns-silent"]
    assert (level, "name some in INGEST_DNS_SERVERS" in text) == ("wrong", True)


def test_of_a_file_of_keys_its_own_are_looked_at(environ: dict[str, str], tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"mine.copernica.com": RECORD, "bad.copernica.com": "v=DKIM1; p="}))
    seen = found(environ | {"INGEST_VERIFY": "on", "INGEST_ACCOUNTS": "1", "INGEST_KEYS": str(keys)})
    level, text = seen["key-unusable"]
    assert (level, text.partition(":")[0]) == ("wrong", "bad.copernica.com")


def test_beside_a_running_dev_its_accounts_and_keys_count(environ: dict[str, str], tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"mine.copernica.com": RECORD}))
    dev = environ | {"INGEST_VERIFY": "on", "INGEST_ACCOUNTS": "account-1", "INGEST_KEYS": str(keys)}
    (tmp_path / "data").mkdir()
    with told(tmp_path / "data", dev, {"COPERNICA_TOKEN"}):
        seen = found({})
    assert {code for code, (level, _) in seen.items() if level == "wrong"} == set()
    assert "token-missing" not in seen
    assert "accounts-missing" in found({"REDIS_URL": NOWHERE})


# --- the spool and files ---


def test_what_may_become_of_the_spool_is_found(environ: dict[str, str], tmp_path: Path) -> None:
    assert found(environ | {"INGEST_SPOOL_DIR": "off"})["spool-off"][0] == "risk"
    assert found(environ | {"INGEST_SPOOL_DIR": "/proc/spool"})["spool-unusable"][0] == "wrong"
    assert found(environ | {"INGEST_SPOOL_MAX": "9999PiB"})["spool-room"][0] == "risk"
    spool = tmp_path / "spool"
    spool.mkdir(exist_ok=True)
    (spool / "x.bad").write_bytes(b"x")
    assert found(environ)["spool-damaged"][0] == "risk"


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="there is no such filesystem")
def test_what_is_only_in_memory_is_found(environ: dict[str, str], sqlite_url: str) -> None:
    shm = Path(f"/dev/shm/ingest-{os.getpid()}.db")
    shm.write_bytes(Path(sqlite_url.removeprefix("sqlite:///")).read_bytes())
    try:
        seen = found(environ | {"INGEST_SPOOL_DIR": "/dev/shm/none", "DATABASE_URL": f"sqlite:///{shm}"})
        assert (seen["spool-ephemeral"][0], seen["database-ephemeral"][0]) == ("risk", "risk")
    finally:
        for path in (shm, Path(f"{shm}-wal"), Path(f"{shm}-shm")):
            path.unlink(missing_ok=True)
        Path("/dev/shm/none").rmdir()


def test_what_is_on_another_machine_is_found(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounts").write_text(NETWORK)
    monkeypatch.setattr(disks, "MOUNTS", tmp_path / "mounts")
    seen = found(environ)
    assert (seen["spool-network"][0], seen["database-network"][0]) == ("risk", "risk")


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("a / ext4 rw 0 0\nb {path} nfs rw 0 0", "nfs"),
        ("a / ext4 rw 0 0\nb {path} nfs rw 0 0\nc {path} xfs rw 0 0", "xfs"),
        ("b {path} xfs rw 0 0\na / ext4 rw 0 0", "xfs"),
        ("a / ext4 rw 0 0\nb {path}x nfs rw 0 0", "ext4"),
        ("", ""),
    ],
)
def test_the_filesystem_of_a_folder_is_that_of_its_innermost_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: str, kind: str
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.setattr(disks, "MOUNTS", tmp_path / "mounts")
    assert disks.filesystem(folder) == ""  # no such file
    disks.MOUNTS.write_text(mounts.format(path=str(folder).replace(" ", "\\040")))
    assert disks.filesystem(folder) == kind


def test_room_that_cannot_be_seen_is_a_risk() -> None:
    (risk,) = health.of_spool(Path("/" + "x" * 300), 1)
    assert risk.code == "spool-room-unknown"


def test_what_others_may_read_is_found(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine.env").write_text("COPERNICA_API_URL=http://127.0.0.1:1/v4\n")
    (tmp_path / "mine.env").chmod(0o604)
    level, text = found(environ, "--env-file", "mine.env")["files-open"]
    assert (level, text) == ("risk", "others may use mine.env (mode 604): chmod 600 it")
    (tmp_path / "mine.env").chmod(0o640)
    assert "files-open" not in found(environ, "--env-file", "mine.env")


# --- databases ---


def test_a_database_that_is_not_there_is_found(environ: dict[str, str], tmp_path: Path) -> None:
    url = "postgresql://u:geheim@127.0.0.1:1/d"
    assert found(environ | {"DATABASE_URL": url})["database-unreachable"][0] == "wrong"
    assert found(environ | {"DATABASE_URL": f"sqlite:///{tmp_path}/none.db"})["no-tables"][0] == "wrong"


def test_tables_of_another_release_are_found(environ: dict[str, str]) -> None:
    with closing(sqlite3.connect(environ["DATABASE_URL"].removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert found(environ)["database-other-release"][0] == "wrong"


def test_a_database_that_changes_what_it_is_given_is_found(environ: dict[str, str]) -> None:
    with closing(sqlite3.connect(environ["DATABASE_URL"].removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(
            "CREATE TRIGGER lesser AFTER INSERT ON events BEGIN "
            "UPDATE events SET recipient = 'zo?@example.nl' WHERE delivery_id = new.delivery_id; END"
        )
    assert found(environ)["database-changes"][0] == "wrong"


def test_a_log_that_is_not_emptied_is_found(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LOG_BOUND", -1)
    assert found(environ)["database-log"][0] == "risk"


def test_what_a_postgresql_does_not_allow_is_found(environ: dict[str, str], postgres_server: Server) -> None:
    url = postgres_server.new_database("checked", "template")
    environ["DATABASE_URL"] = url
    seen = found(environ)
    assert {code for code, (level, _) in seen.items() if level == "wrong"} == set()
    assert seen["database-unsafe"][0] == "risk"  # the tests' own server is a hasty one

    def owner(*statements: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type,unused-ignore]

    owner(
        "CREATE ROLE lowly LOGIN",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO lowly",
    )
    try:
        lowly = environ | {"DATABASE_URL": url.replace("ingest@", "lowly@")}
        seen = found(lowly)
        assert (seen["database-no-ddl"][0], "database-refuses" in seen) == ("risk", False)
        owner("REVOKE INSERT ON events FROM lowly")
        level, text = found(lowly)["database-refuses"]
        assert (level, "permission denied for table events" in text) == ("wrong", True)
        owner("ALTER ROLE lowly SET default_transaction_read_only = on")
        assert found(lowly)["database-read-only"][0] == "wrong"
    finally:
        owner("DROP OWNED BY lowly", "DROP ROLE lowly")


# --- users' code, Copernica's API, and what others can read ---


def test_handlers_that_cannot_be_imported_are_found(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "broken_one.py").write_text("import no_such_module\n")
    level, text = found(environ | {"INGEST_HANDLERS": "broken_one"})["handlers-broken"]
    assert (level, "no_such_module" in text) == ("wrong", True)
    (tmp_path / "ending_one.py").write_text("import sys\n\nsys.exit(0)\n")
    level, text = found(environ | {"INGEST_HANDLERS": "ending_one"})["handlers-broken"]
    assert (level, "ending_one.py, line 3: SystemExit" in text) == ("wrong", True)
    (tmp_path / "ending_one.py").write_text("import os\n\nos._exit(0)\n")
    level, text = found(environ | {"INGEST_HANDLERS": "ending_one"})["handlers-broken"]
    assert (level, "ending_one.py, line 3: SystemExit: os._exit(0)" in text) == ("wrong", True)
    (tmp_path / "ending_one.py").write_text("import ctypes\n\nctypes.CDLL(None)._exit(0)\n")
    assert "ending_one ends" in found(environ | {"INGEST_HANDLERS": "ending_one"})["handlers-broken"][1]
    assert found(environ | {"INGEST_FORWARD_URL": "https://e.nl/a.php"})["forward-unsigned"][0] == "risk"


@pytest.mark.parametrize(
    ("faults", "token", "code", "level"),
    [
        ("", TOKEN, None, ""),
        ("", "another", "token-refused", "wrong"),
        ("403*9@logfiles", TOKEN, "token-no-logfiles", "wrong"),
        ("403*9@webhooks", TOKEN, "token-no-webhooks", "risk"),
        ("403*9@identity", TOKEN, None, ""),
        ("html*9@identity", TOKEN, "api-fails", "wrong"),
    ],
)
def test_what_a_token_may_not_do_is_found_by_doing_it(
    environ: dict[str, str], tmp_path: Path, faults: str, token: str, code: str | None, level: str
) -> None:
    (tmp_path / "logs").mkdir()
    with fake_copernica(FakeCopernica(tmp_path / "logs", TOKEN, Faults(faults))) as api:
        seen = found(environ | api | {"COPERNICA_TOKEN": token})
    about_it = {name: how for name, (how, _) in seen.items() if name.startswith(("token-", "api-", "clock-"))}
    assert about_it == ({code: level} if code else {})


def test_what_others_can_read_on_its_way_is_found(environ: dict[str, str]) -> None:
    open_to_all = {
        "REDIS_URL": "redis://:geheim@127.0.0.1.invalid:1",
        "DATABASE_URL": "postgresql://u:geheim@db.invalid/d",
        "COPERNICA_API_URL": "http://api.invalid",
        "INGEST_FORWARD_URL": "http://e.invalid/a.php",
        "INGEST_CLICKHOUSE_URL": "http://u:geheim@ch.invalid:8123/d",
    }
    seen = found(environ | open_to_all)
    plain = {"plain-redis", "plain-database", "plain-api", "plain-forward", "plain-sink"}
    assert {code: seen[code][0] for code in plain} == dict.fromkeys(plain, "risk")


# --- disks, clocks and servers of a test's own ---


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_that_takes_no_calls_is_found(environ: dict[str, str], tmp_path: Path, how: str) -> None:
    disk = Disk(tmp_path / "disk", 512 * 1024)
    if not disk.mounted:
        pytest.skip("needs a disk of its own, which only root may mount")
    try:
        environ["INGEST_SPOOL_DIR"] = str(disk.folder / "spool")
        assert "spool-takes-nothing" not in found(environ)
        if how == "full":
            disk.fill()
        else:
            until(disk.make_read_only, "a disk that nobody writes to")
        assert found(environ)["spool-takes-nothing"][0] == "wrong"
    finally:
        disk.make_read_only(False)
        disk.unmount(None)


@pytest.mark.parametrize(("seconds", "level"), [(0, None), (60, "risk"), (-3600, "wrong")])
def test_a_clock_that_is_wrong_is_found(
    environ: dict[str, str], postgres_database: EmptyDatabase, tmp_path: Path, seconds: int, level: str | None
) -> None:
    clocks = Clocks(tmp_path)
    if not clocks.shift:
        pytest.skip("needs a compiler")
    ours = clocks.environ("ours")
    clocks.set("ours", seconds)
    (tmp_path / "logs").mkdir()
    environ["DATABASE_URL"] = postgres_database.url()
    with fake_copernica(FakeCopernica(tmp_path / "logs", TOKEN)) as api:
        done = run("check", "--json", environ=environ | api | ours)
    levels = {one["code"]: one["level"] for one in json.loads(done.stdout) if one["about"] == "clock"}
    expected = dict.fromkeys(("clock-redis", "clock-database", "clock-copernica"), level)
    assert levels == (expected if level else {None: "ok"})


@pytest.mark.skipif(not (binaries() / "pg_basebackup").exists(), reason="this PostgreSQL cannot be copied")
def test_a_standby_is_found(environ: dict[str, str], postgres_server: Server) -> None:
    postgres_server.new_database("copied", "template")
    with postgres(primary=postgres_server) as standby:
        level, text = found(environ | {"DATABASE_URL": standby.dsn("copied")})["database-standby"]
    assert (level, "is a standby, which stores nothing" in text) == ("wrong", True)


def test_readyz_tells_what_check_does(tmp_path: Path) -> None:
    with valkey() as server, server.client() as client:
        site = Site(server, tmp_path)
        site.environ["INGEST_SPOOL_MAX"] = "1MiB"
        with running(ingest("serve"), site.environ, tmp_path / "web.log") as web:
            until(lambda: answers(site.port), "the endpoint")

            def ready() -> dict[str, Any]:
                got = exchange(site.port, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return dict(json.loads(got.partition(b"\r\n\r\n")[2]))

            assert (ready()["redis"], ready()["codes"], ready()["risks"]) == ("serves", [], [])
            suspend(client)
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("appendonly", "no")
            until(lambda: set(ready()["codes"]) == {"redis-no-aof", "redis-evicts", "workers-suspended"}, "risks")
            assert len(ready()["risks"]) == 3
            # Nobody calls meanwhile: the endpoint has not met the refusal of a write yet.
            client.replicaof("127.0.0.1", "1")
            until(lambda: ready()["redis"] == "refuses", "a write that is refused")
            until(lambda: "redis-replica" in ready()["codes"], "a replica")
            assert (ready()["breaker"], ready()["spool"]) == ("closed", "takes")
            client.replicaof("NO", "ONE")
            until(lambda: ready()["redis"] == "serves", "a primary")
            assert web.stop() == 0
