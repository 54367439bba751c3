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
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("began_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("who", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("affected", BigInteger),
    Column("error", Text),
    Index("audit_who", "who", "number"),
    Index("audit_action", "action", "number"),
)

#: Sessions of the console that somebody ended by hand (`session`: what its cookie calls it, in hex), and when each
#: would have ended by itself (`until`, in Unix seconds). Whoever reads them can make no cookie of them.
ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("session", Text, primary_key=True),
    Column("until", BigInteger, nullable=False),
)

#: When calls were stored, by which drain, and from which batches: a row per commit (see `workers.store.commits`).
#: `stored_at` is in µs since 1970; `first` and `last` are delivery ids.
commits = Table(
    "commits",
    metadata,
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("stored_at", BigInteger, nullable=False),
    Column("first", LargeBinary, nullable=False),
    Column("last", LargeBinary, nullable=False),
    Column("drain", Text, nullable=False),
    Column("batches", Text, nullable=False),
    Column("calls", LargeBinary, nullable=False),
)

#: What became of calls at a handler: a row for those that it took, or that failed with one error, between two
#: settlements of a claim; see `workers.handlers.history`. Times are µs since 1970. `attempt` counts from 1.
#: Of what `failed`, `final` says that they became dead letters. `micros` is how long the handler took in all, and
#: `durations` how often how long, as a list of buckets and numbers. `ids` are the delivery ids of the calls from
#: `first_id` to `last_id`, without what all begin with; `node` finds them. `size` is about what the row takes.
handler_runs = Table(
    "handler_runs",
    metadata,
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("handler", Text, nullable=False),
    Column("failed", Boolean, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("began_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("micros", BigInteger, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("status", Integer),
    Column("size", Integer, nullable=False),
    Column("node", BigInteger, nullable=False),
    Column("first_id", LargeBinary, nullable=False),
    Column("last_id", LargeBinary, nullable=False),
    Column("durations", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    Column("ids", LargeBinary, nullable=False),
)
