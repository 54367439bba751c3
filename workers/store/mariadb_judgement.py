"""What `ingest check` and `ingest db upgrade` have to say about a MariaDB or MySQL server."""

from typing import Any

from sqlalchemy import Connection, text

from ingest import shown as texts
from ingest.health import Risk, RiskCode
from workers.store import mariadb_partitions

#: Bytes of `max_allowed_packet` below which the largest calls may not fit, and the bytes that are asked for: a
#: bounce carries a whole message, of which each line takes more when it is written down as JSON and then as SQL.
SMALL_PACKET, GOOD_PACKET = 32 * 1024 * 1024, 64 * 1024 * 1024


def unfit(connection: Connection, shown: str) -> str | None:
    """Why it cannot be used at all."""
    mode = str(_setting(connection, "sql_mode"))
    if "STRICT_" not in mode:
        return (
            f"The server at {shown} does not let a session set sql_mode (it is '{texts.escaped(mode)}'), so it "
            "would cut off what does not fit: a proxy in between may have to be set up to pass it on."
        )
    query = "SELECT support FROM information_schema.engines WHERE engine = 'InnoDB'"
    if str(connection.exec_driver_sql(query).scalar()) not in ("YES", "DEFAULT"):
        return f"The server at {shown} has no InnoDB, the engine whose tables survive a crash: switch it on."
    return None


def closed(connection: Connection, shown: str) -> Risk | None:
    """Why nothing can be written."""
    if not int(_setting(connection, "global.read_only") or 0):
        return None
    return Risk(
        RiskCode.DATABASE_READ_ONLY,
        f"{shown} is read-only (read_only), as a replica is: nothing can be stored in it; name the primary in "
        "DATABASE_URL",
    )


def weaknesses(connection: Connection) -> list[Risk]:
    """What can lose events, what does not fit, and what is not allowed."""
    found = []
    for name, safe in (("innodb_flush_log_at_trx_commit", ("1", "3")), ("innodb_doublewrite", ("1", "ON"))):
        if (value := str(_setting(connection, name))) not in safe:
            lost = f"{name} is {value}: a crash of its machine can lose events that exist nowhere else"
            found.append(Risk(RiskCode.DATABASE_UNSAFE, lost))
    packet = int(_setting(connection, "max_allowed_packet") or 0)
    if packet < SMALL_PACKET:
        text_ = (
            f"max_allowed_packet is {packet >> 20:,} MiB: calls of half of that may not fit, and go to "
            f"quarantine; set it to {GOOD_PACKET >> 20} MiB"
        )
        found.append(Risk(RiskCode.DATABASE_PACKET, text_))
    if others := _other_engines(connection):
        text_ = f"{', '.join(others)} of our tables are not of InnoDB: a crash can lose what they hold"
        found.append(Risk(RiskCode.DATABASE_ENGINE, text_))
    return found + mariadb_partitions.weaknesses(connection)


def _other_engines(connection: Connection) -> list[str]:
    query = (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND "
        "table_type = 'BASE TABLE' AND engine <> 'InnoDB' AND table_name IN ('events', 'quarantine', "
        "'unverified', 'outbox', 'handoffs', 'dead_letters', 'event_counts', 'recovered', 'turns')"
    )
    return sorted(connection.exec_driver_sql(query).scalars())


def _setting(connection: Connection, name: str) -> Any:
    return connection.execute(text(f"SELECT @@{name}")).scalar()
