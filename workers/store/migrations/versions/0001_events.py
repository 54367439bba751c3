"""Events, quarantine and unverified calls; in SQLite, also moves what release 0.1 stored into these tables."""

import sqlite3
from hashlib import sha256
from typing import cast

from alembic import op
from sqlalchemy import inspect

revision = "0001"
down_revision = None

#: The columns of events except for the key; {moment}, {json} and {bytes} differ between the databases.
EVENTS = """
    type TEXT NOT NULL,
    message_id TEXT,
    occurred_at {moment} NOT NULL,
    received_at {moment} NOT NULL,
    recipient TEXT,
    ip TEXT,
    url TEXT,
    user_agent TEXT,
    referer TEXT,
    profile BIGINT,
    subprofile BIGINT,
    database BIGINT,
    collection BIGINT,
    mailing BIGINT,
    code BIGINT,
    extended TEXT,
    state TEXT,
    description TEXT,
    tags {json} NOT NULL,
    payload {json} NOT NULL,
    path TEXT NOT NULL,
    source TEXT NOT NULL,
    raw {bytes},
    raw_type TEXT
"""
QUARANTINE = """
    delivery_id {bytes} PRIMARY KEY,
    received_at {moment} NOT NULL,
    path TEXT NOT NULL,
    content_type TEXT NOT NULL,
    body {bytes} NOT NULL,
    reason TEXT NOT NULL
"""
UNVERIFIED = """
    delivery_id {bytes} NOT NULL,
    body_hash {bytes} NOT NULL,
    received_at {moment} NOT NULL,
    path {bytes} NOT NULL,
    content_type {bytes} NOT NULL,
    headers {bytes} NOT NULL,
    body {bytes} NOT NULL,
    PRIMARY KEY (delivery_id, body_hash)
"""

SQLITE = [
    # `row` counts arrivals and is never reused (AUTOINCREMENT), so that `finder` can refer to it.
    "CREATE TABLE events (row INTEGER PRIMARY KEY AUTOINCREMENT, delivery_id BLOB NOT NULL UNIQUE, {EVENTS})",
    "CREATE TABLE quarantine ({QUARANTINE}) WITHOUT ROWID",
    "CREATE TABLE unverified ({UNVERIFIED}) WITHOUT ROWID",
    # For --since, --until and `stats`, which need nothing but this index. Events come nearly in this order, so it
    # grows at its end.
    "CREATE INDEX events_occurred_at ON events (occurred_at, type)",
    # For --recipient and --message: `workers.store.search_index` says why these are not two ordinary indexes.
    "CREATE TABLE finder (run INTEGER, term TEXT, row INTEGER, PRIMARY KEY (run, term, row)) WITHOUT ROWID",
    "CREATE TABLE finder_runs (run INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL)",
]

POSTGRESQL = [
    # By the month in the delivery id, so that it can be the primary key, and a whole month is dropped at once.
    "CREATE TABLE events (delivery_id BYTEA PRIMARY KEY, {EVENTS}) PARTITION BY RANGE (delivery_id)",
    # For ids whose time is not credible, so that none is ever rejected.
    "CREATE TABLE events_other PARTITION OF events DEFAULT",
    "CREATE TABLE quarantine ({QUARANTINE})",
    "CREATE TABLE unverified ({UNVERIFIED})",
    # For --since, --until and `stats`. Events are nearly in this order on disk, as BRIN requires: a few kilobytes
    # per million events, and hardly any work per insert.
    "CREATE INDEX events_occurred_at ON events USING brin (occurred_at) WITH (autosummarize = on)",
    # For --recipient and `erase`: the one index with inserts at random places; partitions keep it small. Not on
    # the whole address, since one that is longer than an index page would be rejected.
    "CREATE INDEX events_recipient ON events (lower(substr(recipient, 1, 320)))",
    # For --message, rarely used: a Bloom filter per megabyte of table will do, at a tenth of the cost.
    "CREATE INDEX events_message_id ON events USING brin (message_id text_bloom_ops) WITH (autosummarize = on)",
]

#: Answers to the most common questions. {day} is the day of an event in UTC, and {count} counts those events that
#: match the condition after it.
VIEWS = [
    """CREATE VIEW message_stats AS SELECT message_id, min(occurred_at) AS first_event,
       {count} (WHERE type = 'delivery') AS deliveries, {count} (WHERE type = 'open') AS opens,
       {count} (WHERE type = 'click') AS clicks, {count} (WHERE type IN ('bounce', 'failure')) AS failures
       FROM events WHERE message_id IS NOT NULL GROUP BY message_id""",
    """CREATE VIEW daily_stats AS SELECT {day} AS day, {count} (WHERE type = 'delivery') AS deliveries,
       {count} (WHERE type = 'open') AS opens, {count} (WHERE type = 'click') AS clicks,
       {count} (WHERE type = 'bounce') AS bounces, {count} (WHERE type = 'failure') AS failures,
       count(DISTINCT CASE WHEN type = 'open' THEN lower(recipient) END) AS unique_openers,
       {count} (WHERE type IN ('bounce', 'failure')) * 1.0
         / nullif({count} (WHERE type IN ('bounce', 'failure', 'delivery')), 0) AS bounce_rate
       FROM events GROUP BY 1""",
    """CREATE VIEW last_events AS SELECT recipient, type, occurred_at, message_id FROM (
         SELECT lower(substr(recipient, 1, 320)) AS recipient, type, occurred_at, message_id, row_number() OVER (
           PARTITION BY lower(substr(recipient, 1, 320)) ORDER BY occurred_at DESC, delivery_id DESC) AS place
         FROM events WHERE recipient IS NOT NULL) AS ranked WHERE place = 1""",
]


def upgrade() -> None:
    """Create the tables and views, and move what release 0.1 stored."""
    if op.get_context().dialect.name == "postgresql":
        words = {"moment": "TIMESTAMPTZ", "json": "JSONB", "bytes": "BYTEA"}
        _make(POSTGRESQL, words, "(occurred_at AT TIME ZONE 'UTC')::date")
        return
    adopted = [name for name in ("events", "quarantine", "unverified") if inspect(op.get_bind()).has_table(name)]
    for name in adopted:
        op.execute(f"ALTER TABLE {name} RENAME TO {name}_of_0_1")
    _make(SQLITE, {"moment": "DATETIME", "json": "TEXT", "bytes": "BLOB"}, "date(occurred_at)")
    driver = cast("sqlite3.Connection", op.get_bind().connection.driver_connection)
    driver.create_function("body_hash", 1, lambda body: sha256(body).digest()[:8], deterministic=True)
    for name in adopted:
        op.execute(ADOPT[name])
        op.execute(f"DROP TABLE {name}_of_0_1")


def _make(statements: list[str], words: dict[str, str], day: str) -> None:
    columns = {"EVENTS": EVENTS, "QUARANTINE": QUARANTINE, "UNVERIFIED": UNVERIFIED}
    columns = {name: text.format(**words) for name, text in columns.items()}
    for statement in statements:
        op.execute(statement.format(**columns))
    for view in VIEWS:
        op.execute(view.format(day=day, count="count(*) FILTER"))


def _number(name: str) -> str:
    """A number from the payload, where 0.1 kept it; it stays there as well, so that nothing can be lost."""
    value = f"json_extract(payload, '$.{name}')"
    digits = f"{value} NOT GLOB '*[^0-9]*' AND length({value}) BETWEEN 1 AND 18"
    return f"CASE WHEN {digits} THEN CAST({value} AS INTEGER) END"


_SENT = "json_extract(payload, '$.type')"
_SUB = "coalesce(json_extract(payload, '$.subprofile'), json_extract(payload, '$.collection'))"
_ABOUT = f"CASE WHEN {_SUB} IS NULL THEN 'profile-' ELSE 'subprofile-' END || {_SENT}"

#: Copies the tables of 0.1. Field names with brackets stay flat in its payloads.
ADOPT = {
    "events": f"""
        INSERT INTO events (delivery_id, type, message_id, occurred_at, received_at, recipient, ip, url,
            user_agent, referer, profile, subprofile, database, collection, mailing, code, extended, state,
            description, tags, payload, path, source)
        SELECT delivery_id,
            CASE WHEN type <> 'unknown' THEN type WHEN {_SENT} IN ('create', 'update', 'delete') THEN {_ABOUT}
                 WHEN {_SENT} IN ('abuse', 'unsubscribe') THEN {_SENT} ELSE type END,
            CASE WHEN {_SENT} IN ('create', 'update', 'delete') THEN NULL ELSE message_id END,
            occurred_at, received_at, recipient, ip, url, user_agent, referer,
            {_number("profile")}, {_number("subprofile")}, {_number("database")}, {_number("collection")},
            {_number("mailing")}, {_number("code")}, json_extract(payload, '$.extended'),
            json_extract(payload, '$.state'), json_extract(payload, '$.description'), tags,
            CASE WHEN type = 'unknown' AND {_SENT} IN ('create', 'update', 'delete') AND message_id IS NOT NULL
                 THEN json_insert(payload, '$.id', message_id) ELSE payload END, path, source
        FROM events_of_0_1 ORDER BY rowid""",
    "quarantine": "INSERT INTO quarantine SELECT * FROM quarantine_of_0_1",
    "unverified": """
        INSERT INTO unverified (delivery_id, body_hash, received_at, path, content_type, headers, body)
        SELECT delivery_id, body_hash(body), received_at, path, content_type, headers, body
        FROM unverified_of_0_1""",
}
