"""What `ingest check` and `ingest db upgrade` find of a MariaDB server, each where its real cause is."""

from pathlib import Path

import pytest

from tests.support.cli import found, typed
from tests.support.mariadb import EmptyMaria, Server
from workers.store import mariadb_connection
from workers.store.schema import upgrade

RIGHTS = "GRANT SELECT, INSERT, UPDATE, DELETE ON events.* TO lowly@localhost"


@pytest.fixture
def environ(
    redis_url: str, maria_database: EmptyMaria, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    return {
        "REDIS_URL": redis_url,
        "DATABASE_URL": maria_database.url(),
        "INGEST_VERIFY": "off",
        "INGEST_SPOOL_DIR": str(tmp_path / "spool"),
        "INGEST_SPOOL_MAX": "1MiB",
        "INGEST_RETENTION_DAYS": "400",
    }


def levels(environ: dict[str, str]) -> dict[str, str]:
    """What is not well about the database, by its code."""
    return {code: level for code, (level, _) in found(environ).items() if code.startswith("database")}


def test_of_a_server_that_need_not_keep_anything_nothing_else_is_found(environ: dict[str, str]) -> None:
    assert levels(environ) == {"database-unsafe": "risk"}  # the tests' own server is a hasty one


def test_what_its_settings_put_at_risk_is_found(environ: dict[str, str], maria_server: Server) -> None:
    maria_server.execute("SET GLOBAL max_allowed_packet = 16777216")
    try:
        assert levels(environ)["database-packet"] == "risk"
    finally:
        maria_server.execute("SET GLOBAL max_allowed_packet = 67108864")
    maria_server.execute("ALTER TABLE outbox ENGINE = Aria", database="events")
    assert levels(environ)["database-engine"] == "risk"


def test_what_its_user_may_not_do_is_found(environ: dict[str, str], maria_server: Server) -> None:
    maria_server.execute("CREATE USER lowly@localhost", RIGHTS)
    lowly = environ | {"DATABASE_URL": environ["DATABASE_URL"].replace("root@", "lowly@")}
    try:
        assert levels(lowly) == {"database-unsafe": "risk", "database-no-ddl": "risk"}
        maria_server.execute("SET GLOBAL read_only = ON")
        assert levels(lowly) == {"database-read-only": "wrong"}
        maria_server.execute("SET GLOBAL read_only = OFF", "REVOKE INSERT ON events.* FROM lowly@localhost")
        level, text = found(lowly)["database-refuses"]
        assert (level, "INSERT command denied" in text) == ("wrong", True)
    finally:
        maria_server.execute("SET GLOBAL read_only = OFF", "DROP USER lowly@localhost")


@pytest.mark.parametrize("name", ["OLDEST", "OLDEST_MYSQL"])
def test_a_server_that_is_too_old_gets_no_tables(
    maria_server: Server, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    environ["DATABASE_URL"] = maria_server.new_database("old")
    monkeypatch.setattr(mariadb_connection, name, (99, 1))
    if name == "OLDEST_MYSQL":
        monkeypatch.setattr(mariadb_connection.Driver, "is_mariadb", False)
    done = typed("db", "upgrade", environ=environ)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "99.1 or newer is needed" in done.stderr
    assert maria_server.execute("SHOW TABLES FROM old") == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the driver leaves a socket open
def test_a_database_without_tables_and_one_that_is_not_there_are_one_sentence_each(
    maria_server: Server, environ: dict[str, str]
) -> None:
    environ["DATABASE_URL"] = url = maria_server.new_database("bare")
    assert found(environ)["no-tables"][0] == "wrong"
    upgrade(url)
    for other, said in ((url.replace("/bare", "/none"), "Unknown database 'none'"), (url + ".not", "mysql")):
        level, text = found(environ | {"DATABASE_URL": other})["database-unreachable"]
        assert (level, said in text, "Traceback" in text) == ("wrong", True, False)
