"""The tables that only SQLite files have: the search index, see `workers.store.search_index`."""

from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, Text

sqlite_metadata = MetaData()

#: The events with the number that each got on arrival, and what the search index holds of them.
numbered_events = Table(
    "events",
    sqlite_metadata,
    Column("row", Integer, primary_key=True),
    Column("delivery_id", LargeBinary, nullable=False),
    Column("recipient", Text),
    Column("message_id", Text),
    Column("folded_recipient", Text),
    Column("type", Text, nullable=False),
    Column("occurred_at", Text, nullable=False),
    Column("mailing", Integer),
    Column("source", Text, nullable=False),
)

#: Which of the `numbered_events` each run covers: from `first` through `last`.
finder_runs = Table(
    "finder_runs",
    sqlite_metadata,
    Column("run", Integer, primary_key=True),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
)

#: The sorted entries of all runs; what is hashed is a message id, or an address in lower case.
finder_hashes = Table(
    "finder_hashes",
    sqlite_metadata,
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("hash", Integer, primary_key=True),
    Column("row", Integer, primary_key=True),
)

#: The same of the runs that releases before 0.3 made: with the terms themselves.
finder = Table(
    "finder",
    sqlite_metadata,
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("term", Text, primary_key=True),
    Column("row", Integer, primary_key=True),
)
