"""The schema: made once, however many make it; told apart from others; and release 0.1 taken over whole."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Integer, inspect
from sqlalchemy.types import BigInteger, Boolean, Date, DateTime, LargeBinary, Text

from ingest.batch import Record
from ingest.copernica.events import Event, EventType
from ingest.errors import SchemaMismatch, SchemaMissing, Unavailable
from tests.support.builders import event
from tests.support.postgres import Server
from tests.support.sql import WITHOUT_0011, execute, is_a_sentence, rows, waiting
from workers.store import console_tables, migrations, schema, tables
from workers.store.filters import Filter
from workers.store.schema import upgrade
from workers.store.store import Store

pytestmark = pytest.mark.slow

NINE = 1_795_165_200_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without our tables."""
    if request.param == "sqlite":
        (tmp_path / "empty.db").touch()
        return f"sqlite:///{tmp_path}/empty.db"
    server: Server = request.getfixturevalue("postgres_server")
    return server.new_database("empty")


def test_an_upgrade_makes_the_tables_and_another_changes_nothing(empty: str) -> None:
    with pytest.raises(SchemaMissing, match="`ingest db upgrade`") as caught:
        Store.open(empty)
    assert is_a_sentence(caught.value)
    assert upgrade(empty) == (None, schema.VERSION)
    with closing(Store.open(empty)) as store:
        store.add([event()])
        assert upgrade(empty) == (schema.VERSION, schema.VERSION)
        assert list(store.find(Filter())) == [event()]


@pytest.mark.parametrize(("version", "advice"), [("0000", "ingest db upgrade"), ("9999", "install the release")])
def test_another_version_of_the_tables_is_not_touched(
    database: str, store: Store, version: str, advice: str
) -> None:
    execute(store, f"UPDATE alembic_version SET version_num = '{version}'")
    with pytest.raises(SchemaMismatch, match=advice) as caught:
        Store.open(database)
    assert is_a_sentence(caught.value)
    assert version in str(caught.value)


def test_a_newer_schema_is_not_upgraded(database: str, store: Store) -> None:
    execute(store, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="9999") as caught:
        upgrade(database)
    assert is_a_sentence(caught.value)
    assert rows(store, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_tables_that_cannot_be_read_do_not_count_as_missing(postgres_server: Server) -> None:
    url = postgres_server.new_database("guarded", "template")
    with closing(Store.open(url)) as store:
        execute(store, "DROP ROLE IF EXISTS stranger", "CREATE ROLE stranger LOGIN")
    with pytest.raises(Unavailable, match="permission denied") as caught:
        Store.open(url.replace("//ingest@", "//stranger@"))
    assert not isinstance(caught.value, SchemaMissing)


def test_an_empty_database_is_no_error_in_the_log_of_the_server(postgres_server: Server) -> None:
    log = postgres_server.folder / "postgres.log"
    before = len(log.read_bytes())
    with pytest.raises(SchemaMissing):
        Store.open(postgres_server.new_database("bare"))
    assert b"ERROR" not in log.read_bytes()[before:]


def test_the_version_is_that_of_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.VERSION]


def test_the_columns_in_the_database_are_those_that_the_queries_name(store: Store) -> None:
    kinds: dict[str, type | tuple[type, ...]] = {
        "DATETIME": DateTime,
        "INTEGER": Integer,
        "TIMESTAMP": DateTime,
        "BLOB": LargeBinary,
        "BYTEA": LargeBinary,
    }
    kinds |= {
        "DATE": Date,
        "BOOLEAN": Boolean,
        "BIGINT": BigInteger,
        "INTEGER": Integer,
        "TEXT": (Text, tables.JsonText),
        "JSONB": tables.JsonText,
    }
    # MariaDB: texts in keys have a limit, and others none.
    kinds |= {"VARCHAR": Text, "VARBINARY": LargeBinary, "LONGBLOB": LargeBinary, "TINYINT": Boolean}
    kinds["LONGTEXT"] = kinds["TEXT"]
    beside = {"row", "recipient_hash", "message_hash"}
    inspector = inspect(store.engine)
    for table in console_tables.metadata.sorted_tables:
        made = [column for column in inspector.get_columns(table.name) if column["name"] not in beside]
        assert [column["name"] for column in made] == [column.name for column in table.columns]
        for column, expected in zip(made, table.columns, strict=True):
            assert isinstance(expected.type, kinds[str(column["type"]).partition("(")[0]]), expected
            assert expected.primary_key or column["nullable"] == expected.nullable, expected
        keys = inspector.get_pk_constraint(table.name)["constrained_columns"]
        unique = [each["column_names"] for each in inspector.get_unique_constraints(table.name)]
        assert [column.name for column in table.primary_key] in [keys, *unique]


def test_recipients_that_were_stored_before_are_found_by_the_rule_of_today(
    empty: str,
) -> None:
    written = (
        "Zoë@exämple.nl",
        "ZOË@XN--EXMPLE-CUA.NL",
        "Zoë <zoë@exämple.nl>",
        " zoë@exämple.nl",
        "zoe@example.nl",
    )
    upgrade(empty)
    with closing(Store.open(empty)) as store:
        store.add([event(number, recipient=one) for number, one in enumerate(written)])
        execute(store, "DROP INDEX events_folded_recipient", "ALTER TABLE events DROP COLUMN folded_recipient")
        execute(store, *WITHOUT_0011)
        execute(store, "DROP TABLE IF EXISTS finder_hashes", "ALTER TABLE handoffs DROP COLUMN error")
        execute(store, *(f"DROP TABLE {name}" for name in ("tombstones", "event_counts", "fillings")))
        execute(store, "UPDATE alembic_version SET version_num = '0005'")
    upgrade(empty)
    with closing(Store.open(empty)) as store:
        found = [each.recipient for each in store.find(Filter(recipient="zoë@EXÄMPLE.nl"))]
        assert found == list(written[:4])
        assert [each.recipient for each in store.find(Filter(recipient="ZOE@example.nl"))] == [written[4]]


# --- release 0.1 ---

OLD_TABLES = """
    CREATE TABLE events (delivery_id BLOB NOT NULL, type TEXT NOT NULL, message_id TEXT,
        occurred_at DATETIME NOT NULL, received_at DATETIME NOT NULL, recipient TEXT, ip TEXT, url TEXT,
        user_agent TEXT, referer TEXT, tags TEXT, payload TEXT NOT NULL, path TEXT NOT NULL, source TEXT NOT NULL,
        PRIMARY KEY (delivery_id));
    CREATE TABLE quarantine (delivery_id BLOB NOT NULL, received_at DATETIME NOT NULL, path TEXT NOT NULL,
        content_type TEXT NOT NULL, body BLOB NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (delivery_id));
    CREATE TABLE unverified (delivery_id BLOB NOT NULL, received_at DATETIME NOT NULL, path BLOB NOT NULL,
        content_type BLOB NOT NULL, headers BLOB NOT NULL, body BLOB NOT NULL, PRIMARY KEY (delivery_id));
"""
WHEN = "2026-11-20 09:00:00.000000"
LATER = "2026-11-20 09:00:00.000001"

UNKNOWN, CREATE, UPDATE = EventType.UNKNOWN, EventType.PROFILE_CREATE, EventType.PROFILE_UPDATE
#: What 0.1 stored (type, message id and payload), and what of it is another column now.
OLD: list[tuple[str, str | None, dict[str, Any], EventType, dict[str, Any]]] = [
    ("open", "5fd2", {"timestamp": "2026-11-20 09:00:00"}, EventType.OPEN, {}),
    ("open", "5fd2", {"type": "OPEN", "é\ud83d": "a\udcff\0"}, EventType.OPEN, {}),
    ("click", None, {"deep": {"a": [1, None, True, 2.5]}, "large": 2**63 - 1}, EventType.CLICK, {}),
    ("bounce", "5fd2", {"mime": "x" * 100_000}, EventType.BOUNCE, {}),
    (
        "failure", "5fd2", {"action": "failed", "code": "550", "extended": "5.1.1", "state": "bounce",
        "description": "Zoë"}, EventType.FAILURE,
        {"code": 550, "extended": "5.1.1", "state": "bounce", "description": "Zoë"},
    ),
    ("delivery", "5fd2", {"code": 250, "state": ""}, EventType.DELIVERY, {"code": 250, "state": ""}),
    (
        "unknown", "123", {"type": "create", "profile": "123", "database": "1", "fields[email]": "jan@example.nl",
        "parameters[email]": "jan@example.nl"}, CREATE, {"profile": 123, "database": 1},
    ),
    ("unknown", None, {"type": "update", "profile": "0123", "database": "9" * 19}, UPDATE, {"profile": 123}),
    ("unknown", "2", {"type": "update", "id": ["1", "2"], "profile": "-1"}, UPDATE, {}),
    (
        "unknown", "88", {"type": "delete", "profile": "123", "subprofile": "88", "collection": "5"},
        EventType.SUBPROFILE_DELETE, {"profile": 123, "subprofile": 88, "collection": 5},
    ),
    ("unknown", "5fd2", {"type": "abuse", "emailfrom": "jan@example.nl"}, EventType.ABUSE, {}),
    (
        "unknown", "5fd2", {"type": "unsubscribe", "profile": "4711", "database": "7", "mailing": "90210"},
        EventType.UNSUBSCRIBE, {"profile": 4711, "database": 7, "mailing": 90210},
    ),
    ("unknown", "5fd2", {"type": "test", "a": "1"}, UNKNOWN, {}),
    ("unknown", None, {}, UNKNOWN, {}),
    ("unknown", None, {"type": ["create", "update"], "code": ["1", "2"]}, UNKNOWN, {}),
]  # fmt: skip  # a list to be read across, not a column of single words


def _id(number: int) -> bytes:
    return (NINE // 1_000_000).to_bytes(4, "big") + number.to_bytes(8, "big")


@pytest.fixture
def old(tmp_path: Path) -> str:
    """The URL of a database as release 0.1 left it."""
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(OLD_TABLES)
        for number, (kind, message_id, payload, _, _) in enumerate(OLD):
            connection.execute(
                f"INSERT INTO events VALUES ({', '.join('?' * 14)})",
                (
                    _id(number), kind, message_id, WHEN, LATER, "jan@example.nl", "192.0.2.1", None, "", None,
                    '["a"]', json.dumps(payload, separators=(",", ":")), "/copernica", "webhook",
                ),
            )  # fmt: skip  # a list to be read across, not a column of single words
        for number in range(3):
            connection.execute(
                "INSERT INTO quarantine VALUES (?, ?, ?, ?, ?, ?)", (_id(number), WHEN, "/", "", b"\xff\0", "why")
            )
            connection.execute(
                "INSERT INTO unverified VALUES (?, ?, ?, ?, ?, ?)",
                (_id(number), WHEN, b"/\xff", b"", b"Date: x", b"body%d" % number),
            )
        connection.commit()
    return f"sqlite:///{tmp_path}/old.db"


def test_nothing_of_release_0_1_is_lost(old: str) -> None:
    with pytest.raises(SchemaMissing, match="ingest db upgrade"):
        Store.open(old)
    assert upgrade(old) == (None, schema.VERSION)
    expected = []
    for number, (_, message_id, payload, kind, columns) in enumerate(OLD):
        about_profile = "profile-" in kind
        kept = {"id": message_id, **payload} if about_profile and message_id is not None else payload
        plain = Event(
            _id(number), kind, None if about_profile else message_id, NINE, NINE + 1, "jan@example.nl",
            "192.0.2.1", None, "", None, None, None, None, None, None, None, None, None, None, ["a"], kept,
            "/copernica",
        )  # fmt: skip  # a list to be read across, not a column of single words
        expected.append(plain._replace(**columns))
    with closing(Store.open(old)) as store:
        assert list(store.find(Filter())) == expected
        assert list(store.find(Filter(recipient="JAN@example.nl"))) == expected
        assert [tuple(row)[2:] for row in store.rows(tables.quarantine)] == [("/", "", b"\xff\0", "why")] * 3
        assert not [table for table in inspect(store.engine).get_table_names() if "0_1" in table]
        assert [fields["type"] for e in expected[6:10] if (fields := e.fields)] == [
            "create",
            "update",
            "update",
            "delete",
        ]


def test_calls_that_waited_in_release_0_1_can_still_be_settled(old: str) -> None:
    upgrade(old)
    with closing(Store.open(old)) as store:
        kept = store.next_unverified("", (b"", b""), 9)
        records = [Record(_id(n), NINE, b"/\xff", b"", b"body%d" % n, b"Date: x") for n in range(3)]
        assert [call.record for call in kept] == records
        assert [signer.calls for signer in store.unverified_signers()] == [3]
        store.add([], settled=[call.key for call in kept[:2]])
        assert waiting(store) == kept[2:]
