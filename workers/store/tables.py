"""The tables of the store, as the queries see them; `workers/migrations` makes them."""

from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, LargeBinary, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

#: A moment in UTC; in SQLite as text without a zone, which sorts and compares as it should.
_Moment = DateTime(timezone=True)
_Json = Text().with_variant(JSONB(), "postgresql")

#: One row per event. The delivery id begins with its time, so the primary key grows at its end at any size.
#: `tags` is a JSON list; `payload` a JSON object of every field that no other column gives back. `raw` is the body
#: as it came and `raw_type` its content type, where fields cannot say it all.
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
)

#: Calls that could not be read, or not be stored as events, or that proved false: raw, with the reason.
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

#: Calls whose signer's key could not be had when they came in, with what it takes to verify them later. The hash
#: of the body is part of the key: who repeats a signature with another body shall not take the genuine's place.
unverified = Table(
    "unverified",
    metadata,
    Column("delivery_id", LargeBinary, primary_key=True),
    Column("body_hash", LargeBinary, primary_key=True),
    Column("received_at", _Moment, nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("content_type", LargeBinary, nullable=False),
    Column("headers", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

#: What handlers could not take after their last attempt. The call is in it, so that it can be tried again whatever
#: became of the event.
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

#: What came of comparing log files with the store: a row per run, day and kind of event, and one per run and day
#: without a kind, which says whether the day is complete. `details` is what else there is to tell.
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
