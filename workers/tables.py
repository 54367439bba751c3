"""The tables of the store."""

from sqlalchemy import Column, DateTime, LargeBinary, MetaData, Table, Text

metadata = MetaData()

#: One row per event. The delivery id begins with its time, so the primary key grows at its end at any size.
#: Times are in UTC. `tags` is a JSON list; `payload` a JSON object of every field that has no column of its own.
events = Table(
    "events",
    metadata,
    Column("delivery_id", LargeBinary(12), primary_key=True),
    Column("type", Text, nullable=False),
    Column("message_id", Text),
    Column("occurred_at", DateTime, nullable=False),
    Column("received_at", DateTime, nullable=False),
    Column("recipient", Text),
    Column("ip", Text),
    Column("url", Text),
    Column("user_agent", Text),
    Column("referer", Text),
    Column("tags", Text),
    Column("payload", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("source", Text, nullable=False),
)

#: Calls whose body could not be read, raw, with the reason; nothing that was acknowledged is thrown away.
quarantine = Table(
    "quarantine",
    metadata,
    Column("delivery_id", LargeBinary(12), primary_key=True),
    Column("received_at", DateTime, nullable=False),
    Column("path", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
)

#: Calls whose signer's key could not be had when they came in, with what it takes to verify them later.
unverified = Table(
    "unverified",
    metadata,
    Column("delivery_id", LargeBinary(12), primary_key=True),
    Column("received_at", DateTime, nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("content_type", LargeBinary, nullable=False),
    Column("headers", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
