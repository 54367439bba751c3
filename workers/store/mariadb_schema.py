"""The tables in MariaDB: as of the first release that knew it, made at once; later ones come by migrations.

A server commits before and after each statement that changes a table, so making them can end half-way. Each
statement can be repeated, and the version is noted last: whoever comes next makes the rest.

Texts are `LONGTEXT`, since other databases set no limit to them either; what is part of a key has one, as keys may
take 3072 bytes. A recipient and a message are found by 32 bits of their hashes, which take a tenth of the texts:
`recipient_hash` is of the recipient as it is compared.
"""

import secrets

from sqlalchemy import Connection, text

from ingest.errors import Unavailable
from workers.store.event_counts import TURNS
from workers.store.mariadb_connection import COLLATION, MYSQL_COLLATION, driver_of
from workers.store.mariadb_partitions import definitions

#: The version of the schema that `create` makes.
FIRST_VERSION = "0013"
#: Held by whoever upgrades the schema, in the whole server: so it has the name of the database.
UPGRADE_LOCK = "concat('ingest upgrade ', md5(database()))"
#: Seconds to wait for another upgrade.
UPGRADE_PATIENCE = 600
#: Transactions that add to the numbers of events at once and need not wait for each other.
SHARDS = 16
#: The beginning of their names in `turns`.
SHARD = "shard "

#: What stands for the types of columns.
WORDS = {
    "id": "VARBINARY(16)",
    "name": "VARCHAR(500)",
    "word": "VARCHAR(64)",
    "hour": "VARCHAR(13)",
    "text": "LONGTEXT",
    "bytes": "LONGBLOB",
    "moment": "DATETIME(6)",
    "counter": "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
}

EVENTS = """
    delivery_id {id} NOT NULL PRIMARY KEY,
    type {word} NOT NULL,
    message_id {text},
    occurred_at {moment} NOT NULL,
    received_at {moment} NOT NULL,
    recipient {text},
    ip {text},
    url {text},
    user_agent {text},
    referer {text},
    profile BIGINT,
    subprofile BIGINT,
    `database` BIGINT,
    collection BIGINT,
    mailing BIGINT,
    code BIGINT,
    extended {text},
    state {text},
    description {text},
    tags {text} NOT NULL,
    payload {text} NOT NULL,
    path {text} NOT NULL,
    source {name} NOT NULL,
    raw {bytes},
    raw_type {text},
    folded_recipient {text},
    recipient_hash INT UNSIGNED AS (crc32(coalesce(folded_recipient, lower(left(recipient, 320))))) STORED,
    message_hash INT UNSIGNED AS (crc32(message_id)) STORED,
    INDEX events_occurred_at (occurred_at),
    INDEX events_recipient (recipient_hash),
    INDEX events_message_id (message_hash)
"""

#: The tables, and what is in each.
TABLES = {
    "events": EVENTS,
    "quarantine": """delivery_id {id} NOT NULL PRIMARY KEY, received_at {moment} NOT NULL, path {text} NOT NULL,
        content_type {text} NOT NULL, body {bytes} NOT NULL, reason {text} NOT NULL""",
    "unverified": """delivery_id {id} NOT NULL, digest VARBINARY(64) NOT NULL, received_at {moment} NOT NULL,
        path {bytes} NOT NULL, content_type {bytes} NOT NULL, headers {bytes} NOT NULL, body {bytes} NOT NULL,
        key_id {name} NOT NULL, PRIMARY KEY (delivery_id, digest),
        INDEX unverified_by_key (key_id, delivery_id, digest)""",
    "outbox": "id {counter}, type {word} NOT NULL, count INT NOT NULL, packed {bytes} NOT NULL",
    "handoffs": """id {counter}, handler {name} NOT NULL, count INT NOT NULL, packed {bytes} NOT NULL,
        attempt INT NOT NULL DEFAULT 0, crashes INT NOT NULL DEFAULT 0, due_at BIGINT NOT NULL,
        leased_until BIGINT NOT NULL DEFAULT 0, slots INT NOT NULL DEFAULT 0, apart BOOLEAN NOT NULL DEFAULT 0,
        error {text}, INDEX handoffs_due (handler, due_at, count)""",
    "dead_letters": """handler {name} NOT NULL, delivery_id {id} NOT NULL, type {word} NOT NULL,
        occurred_at {moment} NOT NULL, failed_at {moment} NOT NULL, attempts BIGINT NOT NULL,
        error {text} NOT NULL, traceback {text} NOT NULL, packed {bytes} NOT NULL,
        PRIMARY KEY (handler, delivery_id), INDEX dead_letters_failed (failed_at, handler, delivery_id),
        INDEX dead_letters_of (handler, failed_at, delivery_id)""",
    "replays": "name {name} NOT NULL PRIMARY KEY, after VARBINARY(64) NOT NULL, done INT NOT NULL",
    "tombstones": """digest VARBINARY(64) NOT NULL PRIMARY KEY, `key` VARBINARY(64) NOT NULL,
        erased_at BIGINT NOT NULL""",
    "event_counts": """hour {hour} NOT NULL, type {word} NOT NULL, mailing BIGINT NOT NULL, source {name} NOT NULL,
        shard INT NOT NULL, number BIGINT NOT NULL, changes BIGINT NOT NULL DEFAULT 0,
        PRIMARY KEY (hour, type, mailing, source, shard), INDEX event_counts_mailing (mailing, hour)""",
    "fillings": "name {name} NOT NULL PRIMARY KEY, done VARBINARY(64) NOT NULL",
    "reconciliations": """day DATE NOT NULL, kind {word} NOT NULL, finished_at {moment} NOT NULL,
        origin {text} NOT NULL, complete BOOLEAN NOT NULL, in_log BIGINT NOT NULL, in_store BIGINT NOT NULL,
        recovered BIGINT NOT NULL, only_in_store BIGINT NOT NULL, unmatched BIGINT NOT NULL,
        superseded BIGINT NOT NULL, clock_offset BIGINT NOT NULL, error {text}, details {text} NOT NULL,
        PRIMARY KEY (day, kind, finished_at)""",
    "coverage": """endpoint {name} NOT NULL PRIMARY KEY, since BIGINT NOT NULL, through BIGINT NOT NULL,
        ended {text}, boot {text}, up_since BIGINT NOT NULL, up_through BIGINT NOT NULL""",
    "gaps": """since BIGINT NOT NULL, cause {word} NOT NULL, until BIGINT, state {word} NOT NULL,
        changed_at BIGINT NOT NULL, details {text} NOT NULL, PRIMARY KEY (since, cause)""",
    "destinations": """product {word} NOT NULL, destination BIGINT NOT NULL, message_id {text} NOT NULL,
        mailing BIGINT, profile BIGINT, subprofile BIGINT, kept_at BIGINT NOT NULL,
        PRIMARY KEY (product, destination), INDEX destinations_message (message_id(64))""",
    "recovered": """number {counter}, message BIGINT NOT NULL, type {word} NOT NULL, second BIGINT NOT NULL,
        spread BIGINT, latest BIGINT NOT NULL, handed_on BOOLEAN NOT NULL, delivery_id {id} NOT NULL, call_id {id},
        INDEX recovered_message (message), INDEX recovered_latest (latest),
        UNIQUE INDEX recovered_event (delivery_id), INDEX recovered_call (call_id)""",
    "comparisons": """number {counter}, type {word} NOT NULL, since BIGINT NOT NULL, until BIGINT NOT NULL,
        began BIGINT NOT NULL""",
    "comparison_calls": "number {counter}, comparison BIGINT NOT NULL, message BIGINT NOT NULL",
    "mailing_totals": """day DATE NOT NULL, product {word} NOT NULL, mailing BIGINT NOT NULL, kind {word} NOT NULL,
        checked_at {moment} NOT NULL, theirs BIGINT, theirs_unique BIGINT, ours BIGINT NOT NULL,
        ours_unique BIGINT NOT NULL, agrees BOOLEAN, details {text} NOT NULL,
        PRIMARY KEY (day, product, mailing, kind)""",
    "day_totals": """day DATE NOT NULL PRIMARY KEY, first_at {moment} NOT NULL, checked_at {moment} NOT NULL,
        attempts BIGINT NOT NULL, agrees BOOLEAN, why {text} NOT NULL, details {text} NOT NULL""",
    "audit": """number {counter}, began_at BIGINT NOT NULL, ended_at BIGINT, who {name} NOT NULL,
        via {word} NOT NULL, place {text} NOT NULL, action {name} NOT NULL, what {text} NOT NULL, affected BIGINT,
        error {text}, INDEX audit_who (who, number), INDEX audit_action (action, number)""",
    "commits": """number {counter}, stored_at BIGINT NOT NULL, first {id} NOT NULL, last {id} NOT NULL,
        drain {text} NOT NULL, batches {text} NOT NULL, calls {bytes} NOT NULL, INDEX commits_first (first),
        INDEX commits_stored (stored_at)""",
    "handler_runs": """number {counter}, handler {name} NOT NULL, failed BOOLEAN NOT NULL, outcome {word} NOT NULL,
        final BOOLEAN NOT NULL DEFAULT 0, attempt INT NOT NULL, began_at BIGINT NOT NULL, ended_at BIGINT NOT NULL,
        micros BIGINT NOT NULL, calls INT NOT NULL, status INT, size INT NOT NULL, node BIGINT NOT NULL,
        first_id {id} NOT NULL, last_id {id} NOT NULL, durations {text} NOT NULL, error {text} NOT NULL,
        traceback {text} NOT NULL, ids {bytes} NOT NULL,
        INDEX handler_runs_last (handler, failed, number, size),
        INDEX handler_runs_node (node, first_id, last_id)""",
    "ended_sessions": "session {name} NOT NULL PRIMARY KEY, until BIGINT NOT NULL",
    "mailing_changes": """mailing BIGINT NOT NULL, shard INT NOT NULL, changes BIGINT NOT NULL,
        PRIMARY KEY (mailing, shard)""",
    "mailing_parts": """owner BIGINT NOT NULL, hour {hour} NOT NULL, type {word} NOT NULL, mailing BIGINT NOT NULL,
        changes BIGINT NOT NULL, number BIGINT NOT NULL, messages {bytes} NOT NULL, tops {text} NOT NULL,
        PRIMARY KEY (owner, hour, type, mailing), INDEX mailing_parts_mailing (mailing)""",
    "mailing_figures": """mailing BIGINT NOT NULL PRIMARY KEY, changes BIGINT NOT NULL, first_hour {hour} NOT NULL,
        last_hour {hour} NOT NULL, as_of BIGINT NOT NULL, kinds {text} NOT NULL, tops {text} NOT NULL,
        INDEX mailing_figures_first (first_hour, mailing)""",
    "mailing_tags": """tag {name} NOT NULL, mailing BIGINT NOT NULL, type {word} NOT NULL, number BIGINT NOT NULL,
        PRIMARY KEY (tag, mailing, type), INDEX mailing_tags_mailing (mailing)""",
    "mailing_names": """product {word} NOT NULL, mailing BIGINT NOT NULL, subject {text}, template BIGINT,
        sent_at {text}, destinations BIGINT, asked_at BIGINT NOT NULL, PRIMARY KEY (product, mailing)""",
    "marks": "name {name} NOT NULL PRIMARY KEY, value {text} NOT NULL",
    # Rows that are locked by whoever takes turns; the first are those of the shards of `event_counts`.
    "turns": "name {name} NOT NULL PRIMARY KEY",
    "alembic_version": "version_num VARCHAR(32) NOT NULL PRIMARY KEY",
}


def _count(*types: str) -> str:
    return f"count(CASE WHEN type IN ({', '.join(map(repr, types))}) THEN 1 END)"


#: Answers to the most common questions, as in the other databases.
VIEWS = [
    f"""CREATE OR REPLACE VIEW message_stats AS SELECT message_id, min(occurred_at) AS first_event,
       {_count("delivery")} AS deliveries, {_count("open")} AS opens, {_count("click")} AS clicks,
       {_count("bounce", "failure")} AS failures
       FROM events WHERE message_id IS NOT NULL GROUP BY message_id""",
    f"""CREATE OR REPLACE VIEW daily_stats AS SELECT date(occurred_at) AS day,
       {_count("delivery")} AS deliveries, {_count("open")} AS opens, {_count("click")} AS clicks,
       {_count("bounce")} AS bounces, {_count("failure")} AS failures,
       count(DISTINCT CASE WHEN type = 'open' THEN lower(recipient) END) AS unique_openers,
       {_count("bounce", "failure")} * 1e0 / nullif({_count("bounce", "failure", "delivery")}, 0) AS bounce_rate
       FROM events GROUP BY 1""",
    """CREATE OR REPLACE VIEW last_events AS SELECT recipient, type, occurred_at, message_id FROM (
         SELECT lower(substr(recipient, 1, 320)) AS recipient, type, occurred_at, message_id, row_number() OVER (
           PARTITION BY lower(substr(recipient, 1, 320)) ORDER BY occurred_at DESC, delivery_id DESC) AS place
         FROM events WHERE recipient IS NOT NULL) AS ranked WHERE place = 1""",
]


def lock(connection: Connection, shown: str) -> None:
    """Have nobody else upgrade the schema, until this session ends.

    Raises:
        Unavailable: somebody else does so for minutes.
    """
    query = text(f"SELECT GET_LOCK({UPGRADE_LOCK}, {UPGRADE_PATIENCE})")
    if connection.execute(query).scalar() != 1:
        raise Unavailable(f"Another `ingest db upgrade` is at work on {shown}: wait until that has ended.")


def create(connection: Connection) -> str:
    """Make all tables that are not there yet; returns their version, which is noted."""
    collation = COLLATION if driver_of(connection).is_mariadb else MYSQL_COLLATION
    tail = f"ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE {collation}"
    for name, columns in TABLES.items():
        more = definitions() if name == "events" else ""
        made = f"CREATE TABLE IF NOT EXISTS {name} ({columns.format(**WORDS)}) {tail} {more}"
        connection.exec_driver_sql(made)
    for view in VIEWS:
        connection.exec_driver_sql(view)
    names = [TURNS, *(f"{SHARD}{number:02}" for number in range(SHARDS))]
    turns = ", ".join(f"('{name}')" for name in names)
    connection.exec_driver_sql(f"INSERT IGNORE INTO turns (name) VALUES {turns}")
    own = f"INSERT IGNORE INTO marks (name, value) VALUES ('database', '{secrets.token_hex(8)}')"
    connection.exec_driver_sql(own)
    connection.exec_driver_sql(f"INSERT IGNORE INTO alembic_version (version_num) VALUES ('{FIRST_VERSION}')")
    connection.commit()
    return FIRST_VERSION


def free_shard(connection: Connection) -> int:
    """A shard of `event_counts` that nobody else uses, until the end of the transaction; else the first."""
    shards = f"SELECT name FROM turns WHERE name LIKE '{SHARD}__' ORDER BY name LIMIT 1 FOR UPDATE"
    driver = driver_of(connection)
    with driver.cursor() as cursor:
        found = cursor.execute(f"{shards} SKIP LOCKED") or cursor.execute(shards)
        assert found, "the table turns has lost its rows"
        ((name,),) = cursor.fetchall()
    return int(name[len(SHARD) :])
