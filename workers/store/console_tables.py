"""Tables that only the console and what is shown there need; `workers.store.tables` has the others."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text

from workers.store.tables import metadata

#: `metadata` knows all tables once this module is loaded.
__all__ = ["audit", "commits", "ended_sessions", "handler_runs", "metadata"]

#: What people did, from the console or at a prompt: `who`, by which way (`via`: `console`, `command`) and from
#: where (`place`: the address of the browser, or the name of the machine), what
#: exactly (`what`, a JSON object) and how many it `affected`. Times are µs since 1970. It is written before it is
#: done, and again when that ended: one without `ended_at` is under way, or what did it was killed.
audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, comment="Counts up"),
    Column("began_at", BigInteger, nullable=False, comment="When (microseconds since 1970)"),
    Column(
        "ended_at", BigInteger, comment="When it was done (microseconds since 1970); null: under way, or killed"
    ),
    Column("who", Text, nullable=False, comment="Who did it"),
    Column("via", Text, nullable=False, comment="console or command"),
    Column("place", Text, nullable=False, comment="The address of the browser, or the name of the machine"),
    Column("action", Text, nullable=False, comment="What was done"),
    Column("what", Text, nullable=False, comment="The same exactly: a JSON object"),
    Column("affected", BigInteger, comment="How many events, calls or others it affected"),
    Column("error", Text, comment="Why it failed, in one line"),
    Index("audit_who", "who", "number"),
    Index("audit_action", "action", "number"),
    comment="What people did, in the console or by a command",
)

#: Sessions of the console that somebody ended by hand (`session`: what its cookie calls it, in hex), and when each
#: would have ended by itself (`until`, in Unix seconds). Whoever reads them can make no cookie of them.
ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("session", Text, primary_key=True, comment="Names the session, in hex"),
    Column("until", BigInteger, nullable=False, comment="When it would have ended by itself (Unix seconds)"),
    comment="Sessions of the console that somebody ended by hand",
)

#: When calls were stored, by which drain, and from which batches: a row per commit (see `workers.store.commits`).
#: `stored_at` is in µs since 1970; `first` and `last` are delivery ids.
commits = Table(
    "commits",
    metadata,
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, comment="Counts up"),
    Column("stored_at", BigInteger, nullable=False, comment="When (microseconds since 1970)"),
    Column("first", LargeBinary, nullable=False, comment="The smallest delivery id"),
    Column("last", LargeBinary, nullable=False, comment="The largest delivery id"),
    Column("drain", Text, nullable=False, comment="Names the drain that stored them"),
    Column("batches", Text, nullable=False, comment="The ids of their entries in the stream"),
    Column("calls", LargeBinary, nullable=False, comment="Which calls, packed"),
    comment="When calls were stored, and from which batches",
)

#: What became of calls at a handler: a row for those that it took, or that failed with one error, between two
#: settlements of a claim; see `workers.handlers.history`. Times are µs since 1970. `attempt` counts from 1.
#: Of what `failed`, `final` says that they became dead letters. `micros` is how long the handler took in all, and
#: `durations` how often how long, as a list of buckets and numbers. `ids` are the delivery ids of the calls from
#: `first_id` to `last_id`, without what all begin with; `node` finds them. `size` is about what the row takes.
handler_runs = Table(
    "handler_runs",
    metadata,
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, comment="Counts up"),
    Column("handler", Text, nullable=False, comment="The name of the handler"),
    Column("failed", Boolean, nullable=False, comment="Whether they failed"),
    Column("outcome", Text, nullable=False, comment="What became of them, in a word"),
    Column("final", Boolean, nullable=False, comment="Whether they became dead letters"),
    Column("attempt", Integer, nullable=False, comment="Which attempt it was, from 1"),
    Column("began_at", BigInteger, nullable=False, comment="When it began (microseconds since 1970)"),
    Column("ended_at", BigInteger, nullable=False, comment="When it ended (microseconds since 1970)"),
    Column("micros", BigInteger, nullable=False, comment="How long the handler took in all (microseconds)"),
    Column("calls", Integer, nullable=False, comment="How many calls"),
    Column("status", Integer, comment="What an HTTP target answered"),
    Column("size", Integer, nullable=False, comment="How many bytes the row takes, about"),
    Column("node", BigInteger, nullable=False, comment="Finds the row by a delivery id"),
    Column("first_id", LargeBinary, nullable=False, comment="The smallest delivery id"),
    Column("last_id", LargeBinary, nullable=False, comment="The largest delivery id"),
    Column("durations", Text, nullable=False, comment="How often it took how long: buckets and numbers"),
    Column("error", Text, nullable=False, comment="What they failed with, in one line"),
    Column("traceback", Text, nullable=False, comment="Where in the handler"),
    Column("ids", LargeBinary, nullable=False, comment="The delivery ids, packed"),
    comment="What became of calls at a handler",
)
