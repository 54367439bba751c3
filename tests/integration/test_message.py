"""`ingest message`: what became of one message, in every database without reading all events."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event as listeners
from sqlalchemy import select

from ingest.copernica.events import EventType
from tests.support.builders import NINE, SECOND, delivery_id, event
from tests.support.cli import typed
from tests.support.pages import DOCS, blocks
from tests.support.sql import execute, rows
from workers.operations.message import message
from workers.store.store import Store
from workers.store.views import message_stats

pytestmark = pytest.mark.slow

#: What happened with the message m7, a second apart.
HAPPENED = [*EventType]
#: How a plan says by which index it goes, and what it says where it reads all events.
BY_INDEX = {"sqlite": "SEARCH finder_hashes", "postgresql": "_message_id_idx", "mysql": "events_message_id"}
ALL = {"sqlite": "SCAN events", "postgresql": "Seq Scan on", "mysql": "'ALL'"}
VIEW = "SELECT * FROM message_stats WHERE message_id = 'm7'"


@pytest.fixture
def environ(database: str) -> dict[str, str]:
    return {"DATABASE_URL": database}


def fill(store: Store, others: int = 3) -> None:
    mine = [
        event(delivery_id=delivery_id(n), type=kind, message_id="m7", occurred_at=NINE + n * SECOND, mailing=n)
        for n, kind in enumerate(HAPPENED, 1)
    ]
    store.add([*mine, *(event(100 + n, message_id=f"other{n}") for n in range(others))])


@contextmanager
def asked(store: Store) -> Iterator[list[Any]]:
    """Which statements a database is given, each with its parameters."""
    found: list[Any] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        found.append((statement, parameters))

    listeners.listen(store.engine, "before_cursor_execute", note)
    yield found
    listeners.remove(store.engine, "before_cursor_execute", note)


def plan(store: Store, statement: str, parameters: Any = (), *, by_message: bool = False, first: str = "") -> str:
    how = "EXPLAIN QUERY PLAN" if store.engine.dialect.name == "sqlite" else "EXPLAIN"
    with store.reading(by_message) as connection:
        if first:
            connection.exec_driver_sql(first)
        return "\n".join(map(str, connection.exec_driver_sql(f"{how} {statement}", parameters)))


def test_a_message_is_told_as_its_row_of_the_view(store: Store, environ: dict[str, str]) -> None:
    fill(store)
    with store.reading() as connection:
        row = connection.execute(select(message_stats).where(message_stats.c.message_id == "m7")).one()._asdict()
    assert message(store, "m7") == row
    assert (row["opens"], row["failures"], row["mailing"]) == (1, 2, len(HAPPENED))
    said = json.loads(typed("message", "m7", "--json", environ=environ).stdout)
    assert list(said) == list(row)
    assert said["first_event"] == "2026-11-20T09:00:01Z"
    shown = typed("message", "m7", "--tz", "Europe/Amsterdam", environ=environ).stdout
    assert re.search(r"^opens +1$", shown, re.M)
    assert re.search(r"^first_event +2026-11-20T10:00:01\+01:00$", shown, re.M)


def test_what_never_happened_has_a_dash_and_an_id_cannot_steer_the_terminal(
    store: Store, environ: dict[str, str]
) -> None:
    store.add([event(1, message_id="\x1b[2Jm")])
    shown = typed("message", "\x1b[2Jm", environ=environ).stdout
    assert "\x1b" not in shown
    assert re.search(r"^first_click +-$", shown, re.M)
    assert re.search(r"^mailing +-$", shown, re.M)


def test_a_message_of_which_there_is_no_event_ends_with_1(store: Store, environ: dict[str, str]) -> None:
    fill(store)
    for unknown in ("m", "M7", "%", "m7'"):
        ended = typed("message", unknown, "--json", environ=environ)
        assert (ended.exit_code, ended.stdout) == (1, "")
        assert ended.stderr == "ingest: The store has no event of this message.\n"


def test_no_database_reads_all_events_for_one_message(store: Store) -> None:
    fill(store, others=5000)
    name = store.engine.dialect.name
    if name != "sqlite":
        execute(store, "ANALYZE events" if name == "postgresql" else "ANALYZE TABLE events")
    with asked(store) as statements:
        assert message(store, "m7")
    found = plan(store, *statements[-1], by_message=True)
    assert BY_INDEX[name] in found
    assert ALL[name] not in found


def test_the_index_that_the_page_names_is_what_the_view_goes_by(store: Store) -> None:
    name = store.engine.dialect.name
    page = {block.title: block.text for block in blocks(DOCS / "mailings.md") if block.language == "sql"}
    fill(store, others=20_000 if name == "postgresql" else 5000)
    if name == "mysql":
        execute(store, "ANALYZE TABLE events")
        assert ALL[name] in plan(store, VIEW), "say so on the page where MariaDB has learned it"
        return
    if name == "postgresql":
        execute(store, "ANALYZE events")
        settings, query = page["PostgreSQL"].replace("90210-jan", "m7").removeprefix("BEGIN;").split("SELECT")
        assert query == f"{VIEW.removeprefix('SELECT')};\nCOMMIT;\n"
        found = plan(store, VIEW, first=settings)
        assert BY_INDEX[name] in found
        assert ALL[name] not in found
        return
    assert ALL[name] in plan(store, VIEW)
    execute(store, page["SQLite"])
    assert "USING INDEX events_by_message (message_id=?)" in plan(store, VIEW)
    assert [row[0] for row in rows(store, VIEW)] == ["m7"]
    assert message(store, "m7")
