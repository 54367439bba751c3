"""All tables, as the queries see them; `workers.store.migrations` creates them."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
)
from sqlalchemy.types import TypeDecorator, TypeEngine


class JsonText(TypeDecorator[str]):
    """JSON as text, and in PostgreSQL as JSONB; whoever uses SQLite need not import what that takes."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The type of the database's own."""
        if dialect.name != "postgresql":
            return Text()
        from sqlalchemy.dialects.postgresql import JSONB  # noqa: PLC0415

        return JSONB()


metadata = MetaData()
#: The one that belongs to Alembic; those that only SQLite files have are in `workers.store.sqlite_tables`.
alembic_metadata = MetaData()

#: A time in UTC; in SQLite it is text without a time zone, which sorts and compares correctly.
_Moment = DateTime(timezone=True)
_Json = JsonText()
#: A number that the database assigns, counting up.
_Counter = BigInteger().with_variant(Integer(), "sqlite")

#: One row per event. The delivery id begins with its time, so the primary key grows at its end at any size.
#: `tags` is a JSON list, and `payload` a JSON object of all fields that no other column can give back. `raw` is
#: the body as it came and `raw_type` its content type, set only where fields cannot represent everything.
#: `folded_recipient` is the recipient as it is compared, where that is not just in lower case.
events = Table(
    "events",
    metadata,
    Column("delivery_id", LargeBinary, primary_key=True),
    Column("type", Text, nullable=False),
    Column("message_id", Text),
    Column("occurred_at", _Moment, nullable=False),
    Column("received_at", _Moment, nullable=False),
    Column("recipient", Text),
    Column("ip", Text),
    Column("url", Text),
    Column("user_agent", Text),
    Column("referer", Text),
    Column("profile", BigInteger),
    Column("subprofile", BigInteger),
    Column("database", BigInteger),
    Column("collection", BigInteger),
    Column("mailing", BigInteger),
    Column("code", BigInteger),
    Column("extended", Text),
    Column("state", Text),
    Column("description", Text),
    Column("tags", _Json, nullable=False),
    Column("payload", _Json, nullable=False),
    Column("path", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("raw", LargeBinary),
    Column("raw_type", Text),
    Column("folded_recipient", Text),
)

#: Calls that could not be read or stored as events, or that proved to be forged: raw, with the reason.
quarantine = Table(
    "quarantine",
    metadata,
    Column("delivery_id", LargeBinary, primary_key=True),
    Column("received_at", _Moment, nullable=False),
    Column("path", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
)

#: Calls whose signer's key was not available when they came in, with what it takes to verify them later. `digest`
#: is that of `ingest.copernica.signature.identity`, and part of the key: a signature that somebody repeats with
#: another body, target or header must not displace the genuine call.
unverified = Table(
    "unverified",
    metadata,
    Column("delivery_id", LargeBinary, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("received_at", _Moment, nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("content_type", LargeBinary, nullable=False),
    Column("headers", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("key_id", Text, nullable=False),
)

#: What a drain stored and no worker has handed on yet: `count` calls of one type, packed as in the stream. Written
#: in one transaction with the events, so that whatever is stored is handed on, no matter what is killed.
outbox = Table(
    "outbox",
    metadata,
    Column("id", _Counter, primary_key=True),
    Column("type", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("packed", LargeBinary, nullable=False),
)

#: What handlers have to do: `count` calls for one handler. Times are µs since 1970. The worker that works on a row
#: keeps `leased_until` in the future, and uses `slots` of the handler's concurrency meanwhile. `attempt` is how
#: often the calls were tried, and `crashes` how often a worker died while it worked on them. Calls `apart` are
#: part of a batch that failed, and are claimed without any others. `error` is what one of them failed with last,
#: where that is known, in one line.
handoffs = Table(
    "handoffs",
    metadata,
    Column("id", _Counter, primary_key=True),
    Column("handler", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("packed", LargeBinary, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("leased_until", BigInteger, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("apart", Boolean, nullable=False, server_default=false()),
    Column("error", Text),
)

#: Calls that failed in a handler at the last attempt, too. They are kept whole (`packed`), so that they can be
#: retried whatever became of the event.
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("handler", Text, primary_key=True),
    Column("delivery_id", LargeBinary, primary_key=True),
    Column("type", Text, nullable=False),
    Column("occurred_at", _Moment, nullable=False),
    Column("failed_at", _Moment, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    Column("packed", LargeBinary, nullable=False),
)

#: How far unfinished replays have got: the last delivery id and the number of events that were handed on.
replays = Table(
    "replays",
    metadata,
    Column("name", Text, primary_key=True),
    Column("after", LargeBinary, nullable=False),
    Column("done", Integer, nullable=False),
)

#: Who was erased, as keyed hashes, and when (Unix seconds): see `workers.store.tombstones`.
tombstones = Table(
    "tombstones",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("key", LargeBinary, nullable=False),
    Column("erased_at", BigInteger, nullable=False),
)

#: How many events there are, by the hour in which they occurred (`2026-11-20 09`, UTC), type, mailing (-1 for
#: none) and source: written in one transaction with the events. The numbers of all shards count together: see
#: `workers.store.event_counts`. `changes` is another number after each change, also of one that leaves the number
#: as it is: what was derived from these events is out of date if it differs.
event_counts = Table(
    "event_counts",
    metadata,
    Column("hour", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("mailing", BigInteger, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("changes", BigInteger, nullable=False, server_default="0"),
)

#: Tables that do not have everything yet of what was stored before they were made: only of events with a delivery
#: id below `done`. One that has everything has no row here.
fillings = Table(
    "fillings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("done", LargeBinary, nullable=False),
)

#: Results of comparing log files with the store: a row per run, day and kind of event, and one per run and day
#: without a kind, which says whether the day is complete. `details` is a JSON object of everything else.
reconciliations = Table(
    "reconciliations",
    metadata,
    Column("day", Date, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("finished_at", _Moment, primary_key=True),
    Column("origin", Text, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("in_log", BigInteger, nullable=False),
    Column("in_store", BigInteger, nullable=False),
    Column("recovered", BigInteger, nullable=False),
    Column("only_in_store", BigInteger, nullable=False),
    Column("unmatched", BigInteger, nullable=False),
    Column("superseded", BigInteger, nullable=False),
    Column("clock_offset", BigInteger, nullable=False),
    Column("error", Text),
    Column("details", _Json, nullable=False),
)

#: Periods in which an endpoint process surely took calls, in µs since 1970, each under a name of its own. `ended`
#: is how one is known to have ended, if it is. `up_…` is the same by the clock of the machine since its start
#: `boot`, which does not jump; see `workers.gaps`. The row with an empty name stands for what is no longer kept.
coverage = Table(
    "coverage",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("since", BigInteger, nullable=False),
    Column("through", BigInteger, nullable=False),
    Column("ended", Text),
    Column("boot", Text),
    Column("up_since", BigInteger, nullable=False),
    Column("up_through", BigInteger, nullable=False),
)

#: Periods in which calls may be missing, in µs since 1970 (`until` is None while one lasts), why, and what became
#: of them, since `changed_at` (µs). `details` is a JSON object of everything else; see `workers.gaps.gap`.
gaps = Table(
    "gaps",
    metadata,
    Column("since", BigInteger, primary_key=True),
    Column("cause", Text, primary_key=True),
    Column("until", BigInteger),
    Column("state", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("details", _Json, nullable=False),
)

#: Which message each destination of Copernica's is: its REST results name the number, its webhooks the message id.
#: `product` is `ms` (Marketing Suite) or `publisher`; they were asked for `kept_at`, in Unix seconds.
destinations = Table(
    "destinations",
    metadata,
    Column("product", Text, primary_key=True),
    Column("destination", BigInteger, primary_key=True),
    Column("message_id", Text, nullable=False),
    Column("mailing", BigInteger),
    Column("profile", BigInteger),
    Column("subprofile", BigInteger),
    Column("kept_at", BigInteger, nullable=False),
)

#: Events that were recovered, so that a call which comes in later is known for its event (see
#: `workers.store.late_calls`). `message` is a hash of the message id, `second` the event's time by the webhooks'
#: clock, `spread` by how many seconds that may vary (None if the offset of the clocks was not measured), and
#: `latest` the last second that the call can tell. `call_id` is the delivery id of the call that the event was
#: upgraded with; the event keeps its own.
recovered = Table(
    "recovered",
    metadata,
    Column("number", _Counter, primary_key=True),
    Column("message", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("second", BigInteger, nullable=False),
    Column("spread", BigInteger),
    Column("latest", BigInteger, nullable=False),
    Column("handed_on", Boolean, nullable=False),
    Column("delivery_id", LargeBinary, nullable=False),
    Column("call_id", LargeBinary),
)

#: Comparisons that are under way: of events of a type, from second `since` through `until`. Drains note in
#: `comparison_calls` of which messages they stored a call of those meanwhile.
comparisons = Table(
    "comparisons",
    metadata,
    Column("number", _Counter, primary_key=True),
    Column("type", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("began", BigInteger, nullable=False),
)
comparison_calls = Table(
    "comparison_calls",
    metadata,
    Column("number", _Counter, primary_key=True),
    Column("comparison", BigInteger, nullable=False),
    Column("message", BigInteger, nullable=False),
)

#: The totals of a mailing on a day (UTC) at Copernica beside ours, by kind of event, when they were last compared;
#: `agrees` is None where there was nothing to compare. `product` is `ms`, `publisher`, `both`, or empty where
#: Copernica knows the mailing in neither; see `workers.totals`.
mailing_totals = Table(
    "mailing_totals",
    metadata,
    Column("day", Date, primary_key=True),
    Column("product", Text, primary_key=True),
    Column("mailing", BigInteger, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("checked_at", _Moment, nullable=False),
    Column("theirs", BigInteger),
    Column("theirs_unique", BigInteger),
    Column("ours", BigInteger, nullable=False),
    Column("ours_unique", BigInteger, nullable=False),
    Column("agrees", Boolean),
    Column("details", _Json, nullable=False),
)

#: Whether all totals of a day agree, which stays once they do; `why` not, or why that is not known.
day_totals = Table(
    "day_totals",
    metadata,
    Column("day", Date, primary_key=True),
    Column("first_at", _Moment, nullable=False),
    Column("checked_at", _Moment, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("agrees", Boolean),
    Column("why", Text, nullable=False),
    Column("details", _Json, nullable=False),
)

#: What the database knows of itself, by name; see `workers.gaps.lineage`.
marks = Table("marks", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

# --- Alembic's own ---

#: The version of the schema, in its only row.
schema_version = Table("alembic_version", alembic_metadata, Column("version_num", Text, primary_key=True))
