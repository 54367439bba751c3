"""The views and the comments, as whoever asks the database finds them."""

import json
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import inspect, select

from ingest.copernica.events import EventType
from ingest.errors import Unavailable
from tests.support import views as seen
from tests.support.builders import event
from tests.support.mariadb import Server as MariaServer
from tests.support.postgres import Server
from tests.support.sql import execute, rows
from workers.mailings.part import MOST_KEPT
from workers.mailings.refresh import refresh
from workers.store import descriptions, mailing_tables, tables
from workers.store.schema import upgrade
from workers.store.store import Store
from workers.store.views import device_stats, mailing_stats, tag_stats, template_stats, view_metadata

pytestmark = pytest.mark.slow

BEFORE_0014 = [
    *(f"DROP VIEW {name}_stats" for name in ("mailing", "template", "tag", "device")),
    "DROP TABLE mailing_devices",
    "ALTER TABLE mailing_tags DROP COLUMN messages",
    "ALTER TABLE mailing_parts DROP COLUMN cuts",
    "UPDATE alembic_version SET version_num = '0013'",
]


def view(store: Store, table: Any) -> list[dict[str, Any]]:
    with store.reading() as connection:
        return [dict(row._mapping) for row in connection.execute(select(table))]


def refreshed(store: Store) -> Store:
    while refresh(store, 60).left:
        pass
    return store


def test_every_view_has_the_columns_that_its_description_names(store: Store) -> None:
    for table in view_metadata.sorted_tables:
        made = [column["name"] for column in inspect(store.engine).get_columns(table.name)]
        assert made == [column.name for column in table.columns]
        assert view(store, table) == []


def test_a_rate_is_null_where_nothing_is_known_to_be_delivered(store: Store) -> None:
    store.add([event(1, mailing=7, message_id="a", tags=["x"]), event(2, mailing=7, message_id="a", tags=[])])
    (mailing,) = view(refreshed(store), mailing_stats)
    assert (mailing["opens"], mailing["unique_opens"], mailing["base"], mailing["open_rate"]) == (2, 1, None, None)
    assert mailing["click_to_open_rate"] == 0
    (tag,) = view(store, tag_stats)
    assert (tag["tag"], tag["opens"], tag["base"], tag["click_rate"]) == ("x", 1, None, None)


def test_a_template_is_all_its_mailings_together(store: Store) -> None:
    store.add(
        [
            event(number, mailing=mailing, message_id=f"{mailing}-{number % 3}", type=kind)
            for number, (mailing, kind) in enumerate(
                (mailing, kind)
                for mailing in (7, 8, 9)
                for kind in [EventType.DELIVERY] * 3 + [EventType.OPEN] * 2
            )
        ]
    )
    with store.writing() as connection:
        names = [("ms", mailing, "Hello", template, None, 3, 1) for mailing, template in ((7, 5), (8, 5), (9, 6))]
        store.insert(connection, mailing_tables.mailing_names, names)
    found = {row["template"]: row for row in view(refreshed(store), template_stats)}
    assert {template: row["mailings"] for template, row in found.items()} == {5: 2, 6: 1}
    mailings = {row["mailing"]: row for row in view(store, mailing_stats)}
    for name in ("deliveries", "unique_deliveries", "opens", "unique_opens", "base"):
        assert found[5][name] == mailings[7][name] + mailings[8][name]
    assert found[5]["open_rate"] == found[5]["unique_opens"] / 6


def test_tags_are_told_as_they_are_and_bounded_however_many_there_are(store: Store) -> None:
    odd = ['it\'s "so"', "🎉 a%b_c\\d", "", "x" * 200_000, "é"]
    store.add([event(1, mailing=7, message_id="a", tags=odd), event(2, mailing=None, message_id="b", tags=["é"])])
    store.add([event(10 + n, mailing=8, message_id=f"m{n}", tags=[f"own-{n}"]) for n in range(MOST_KEPT + 50)])
    store.add([event(900, mailing=9, message_id="c", tags=[f"t{n}" for n in range(5000)])])
    found = {row["tag"]: row for row in view(refreshed(store), tag_stats)}
    assert {*odd[:2], "x" * 159 + "…"} < set(found)
    assert (found["é"]["opens"], found["é"]["unique_opens"], found["é"]["mailings"]) == (2, 2, 1)
    assert "" not in found
    assert sum(tag.startswith("own-") for tag in found) == MOST_KEPT
    assert sum(tag.startswith("t") for tag in found) == 20
    assert max(len(bytes(row[0].encode())) for row in rows(store, "SELECT cuts FROM mailing_parts")) < 20_000


def test_the_device_of_a_message_is_told_for_each_mailing_and_for_none(store: Store) -> None:
    phone, proxy = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)", "Mozilla/5.0"
    store.add(
        [
            event(1, mailing=7, message_id="a", user_agent=phone),
            event(2, mailing=7, message_id="a", user_agent=phone),
            event(3, mailing=7, message_id="a", user_agent=proxy),
            event(4, mailing=7, message_id="a", user_agent=phone, type=EventType.CLICK),
            event(5, mailing=None, message_id="b", user_agent=None),
            event(6, mailing=7, message_id="c", user_agent=phone, type=EventType.BOT_CLICK),
        ]
    )
    found = {(row["mailing"], row["device"]): row for row in view(refreshed(store), device_stats)}
    assert {key: (row["opens"], row["unique_opens"], row["clicks"]) for key, row in found.items()} == {
        (7, "phone"): (2, 1, 1),
        (7, "proxy"): (1, 1, 0),
        (None, "unknown"): (1, 1, 0),
    }
    assert found[7, "phone"]["click_to_open_rate"] == 1
    assert found[7, "proxy"]["click_to_open_rate"] == 0


# --- upgrading ---


def test_figures_that_were_made_before_are_made_again(database: str, store: Store) -> None:
    store.add([event(number, mailing=7, message_id="a", tags=["x"]) for number in range(3)])
    refreshed(store)
    if store.engine.dialect.name == "sqlite":
        execute(store, *(f"DROP VIEW {name}_stats" for name in ("message", "daily")))
    execute(store, *BEFORE_0014)
    store.engine.dispose()
    assert upgrade(database) == ("0013", "0014")
    with closing(Store.open(database)) as again:
        seen.agree(again, 7)
        assert seen.told(refreshed(again)) == seen.counted(again)


def test_a_view_of_somebody_else_is_not_replaced(database: str, store: Store) -> None:
    execute(store, *BEFORE_0014, "CREATE VIEW tag_stats AS SELECT 1 AS mine")
    store.engine.dispose()
    with pytest.raises(Unavailable, match="tag_stats that is not ours: rename it"):
        upgrade(database)
    execute(store, "DROP VIEW tag_stats")
    upgrade(database)


# --- comments ---


def described(store: Store) -> dict[str, dict[str | None, str | None]]:
    inspector = inspect(store.engine)
    kinds = [*tables.metadata.sorted_tables]
    kinds += view_metadata.sorted_tables if store.engine.dialect.name == "postgresql" else []
    return {
        table.name: {
            None: inspector.get_table_comment(table.name)["text"],
            **{each["name"]: each["comment"] for each in inspector.get_columns(table.name)},
        }
        for table in kinds
    }


def expected(found: dict[str, Any]) -> dict[str, Any]:
    known = {**tables.metadata.tables, **view_metadata.tables}
    return {name: descriptions.wanted(known[name]) for name in found}


def test_every_table_and_column_has_its_comment_in_the_database(database: str, store: Store) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no comments")
    beside = {"recipient_hash", "message_hash"}
    found = {name: {k: v for k, v in of.items() if k not in beside} for name, of in described(store).items()}
    assert found == expected(found)
    assert all(all(of.values()) for of in found.values())
    assert json.dumps(found).isascii()


def test_comments_are_written_again_without_a_change_to_any_row(maria_server: MariaServer) -> None:
    url = maria_server.new_database("commented")
    upgrade(url)
    definition = maria_server.execute("SHOW CREATE TABLE events", database="commented")
    with closing(Store.open(url)) as store:
        store.add([event(1)])
        execute(
            store,
            "ALTER TABLE events MODIFY url LONGTEXT COMMENT 'it''s \\\\ mine', ADD COLUMN own INT COMMENT 'x'",
        )
        upgrade(url)
        assert store.stored() == 1
        execute(store, "ALTER TABLE events DROP COLUMN own")
    assert maria_server.execute("SHOW CREATE TABLE events", database="commented") == definition


def test_an_upgrade_by_another_than_the_owner_that_has_nothing_to_do_succeeds(postgres_server: Server) -> None:
    url = postgres_server.new_database("owned", "template")
    with closing(Store.open(url)) as store:
        execute(
            store,
            "DROP ROLE IF EXISTS worker",
            "CREATE ROLE worker LOGIN",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO worker",
        )
    assert upgrade(url.replace("//ingest@", "//worker@")) == ("0014", "0014")


def test_comments_that_cannot_be_written_are_one_line_in_the_log(
    postgres_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres_server.new_database("owned_by_another", "template")
    with closing(Store.open(url)) as store:
        execute(
            store,
            "DROP ROLE IF EXISTS stranger",
            "CREATE ROLE stranger LOGIN",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO stranger",
            "COMMENT ON TABLE events IS 'mine'",
        )
    upgrade(url.replace("//ingest@", "//stranger@"))
    (said,) = [record.getMessage() for record in caplog.records if "comments" in record.getMessage()]
    assert "must be owner" in said
    assert "`ingest db upgrade` again as the owner" in said
