"""How the numbers of events are kept on PostgreSQL, with several writers that do not wait for each other."""

from sqlalchemy import Connection, text

from workers.store.event_counts import Numbers, counted_below

#: Shards of `event_counts`: transactions that add to the numbers at once and need not wait for each other.
SHARDS = 16
#: Held by who uses a shard, together with its number; any number that nothing else uses.
SHARD_LOCK = 0x1465_7376
#: Adds to the numbers of events in the first shard that nobody is using; to nothing if all are in use.
ADD_COUNTS = """
    WITH mine AS MATERIALIZED (
        SELECT shard FROM generate_series(0, %s) AS shard WHERE pg_try_advisory_xact_lock(%s, shard) LIMIT 1),
    noted AS (
        INSERT INTO mailing_changes AS sums (mailing, shard, changes)
        SELECT mailing, shard, %s::bigint FROM mine, unnest(%s::bigint[]) AS mailing
        ON CONFLICT (mailing, shard) DO UPDATE SET changes = sums.changes + excluded.changes)
    INSERT INTO event_counts AS sums (hour, type, mailing, source, shard, number, changes)
    SELECT hour, type, mailing, source, shard, number, %s::bigint
    FROM mine, unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::bigint[])
        AS given (hour, type, mailing, source, number)
    ON CONFLICT (hour, type, mailing, source, shard)
    DO UPDATE SET number = sums.number + excluded.number, changes = sums.changes + excluded.changes"""


def of_table(connection: Connection, name: str) -> tuple[int, Numbers]:
    """How many events a partition holds, and the numbers, less than zero, that go if it does.

    Nothing comes into it any more until the end of the transaction.
    """
    connection.exec_driver_sql(f"LOCK TABLE {name} IN SHARE MODE")
    below = counted_below(connection)
    query = text(
        "SELECT to_char(occurred_at, 'YYYY-MM-DD HH24'), type, mailing, source, count(*), count(*) FILTER (WHERE "
        f"CAST(:below AS bytea) IS NULL OR delivery_id < :below) FROM {name} GROUP BY 1, 2, 3, 4"
    )
    found = connection.execute(query, {"below": below}).all()
    numbers = Numbers(
        {(at, kind, mailing, source): -counted for at, kind, mailing, source, _, counted in found if counted}
    )
    return sum(number for *_, number, _ in found), numbers
