"""All tables, as the queries see them; `workers.store.migrations` creates them."""

from sqlalchemy import BigInteger, Boolean, Column, Date, Integer, LargeBinary, Table, Text, false

from workers.store.recovery_tables import (
    comparison_calls,
    comparisons,
    coverage,
    day_totals,
    destinations,
    gaps,
    mailing_totals,
    recovered,
)
from workers.store.table_types import Counter, Json, JsonText, Moment, alembic_metadata, metadata

__all__ = [
    "JsonText",
    "alembic_metadata",
    "comparison_calls",
    "comparisons",
    "coverage",
    "day_totals",
    "dead_letters",
    "destinations",
    "event_counts",
    "events",
    "fillings",
    "gaps",
    "handoffs",
    "mailing_totals",
    "marks",
    "metadata",
    "outbox",
    "quarantine",
    "reconciliations",
    "recovered",
    "replays",
    "schema_version",
    "tombstones",
    "unverified",
]

#: One row per event. The delivery id begins with its time, so the primary key grows at its end at any size.
#: `tags` is a JSON list, and `payload` a JSON object of all fields that no other column can give back. `raw` is
#: the body as it came and `raw_type` its content type, set only where fields cannot represent everything.
#: `folded_recipient` is the recipient as it is compared, where that is not just in lower case.
events = Table(
    "events",
    metadata,
    Column(
        "delivery_id",
        LargeBinary,
        primary_key=True,
        comment="Names the call: 4 bytes of its time, 8 of a hash; it grows with time",
    ),
    Column(
        "type",
        Text,
        nullable=False,
        comment="open, click, delivery, bounce, failure, unsubscribe, abuse, profile-update or others, or unknown",
    ),
    Column("message_id", Text, comment="Copernica's id of the message that the event is about, not of the event"),
    Column("occurred_at", Moment, nullable=False, comment="When it happened, as Copernica tells (UTC)"),
    Column(
        "received_at", Moment, nullable=False, comment="When the call came in, or the event was recovered (UTC)"
    ),
    Column("recipient", Text, comment="The e-mail address, as it was sent"),
    Column(
        "ip", Text, comment="The IP address of whoever opened or clicked, as it was sent; a proxy's where one did"
    ),
    Column("url", Text, comment="The link of a click, as it was sent"),
    Column(
        "user_agent", Text, comment="How the program of whoever opened or clicked names itself, as it was sent"
    ),
    Column("referer", Text, comment="The page that a click came from, as it was sent"),
    Column("profile", BigInteger, comment="Number of the profile at Copernica"),
    Column("subprofile", BigInteger, comment="Number of the subprofile at Copernica"),
    Column("database", BigInteger, comment="Number of the database of that profile at Copernica"),
    Column("collection", BigInteger, comment="Number of the collection of that subprofile at Copernica"),
    Column("mailing", BigInteger, comment="Number of the mailing at Copernica, where the event names one"),
    Column("code", BigInteger, comment="What the receiving mail server answered: the SMTP code, such as 550"),
    Column("extended", Text, comment="The same as an enhanced status code, such as 5.1.1"),
    Column("state", Text, comment="In which step of the SMTP conversation it answered that"),
    Column("description", Text, comment="The text of its answer"),
    Column("tags", Json, nullable=False, comment="The tags of the message: a JSON list of texts"),
    Column(
        "payload",
        Json,
        nullable=False,
        comment="Every field of the call without a column of its own: a JSON object",
    ),
    Column("path", Text, nullable=False, comment="The path at the endpoint to which the call was posted"),
    Column(
        "source",
        Text,
        nullable=False,
        comment="webhook; logfile or rest of an event that was recovered, until its call comes",
    ),
    Column("raw", LargeBinary, comment="The body as it came, only where fields cannot express it"),
    Column("raw_type", Text, comment="The content type of raw"),
    Column(
        "folded_recipient",
        Text,
        comment="The recipient as addresses are compared, where that is more than lower case",
    ),
    comment="What Copernica reported, one row per event",
)

#: Calls that could not be read or stored as events, or that proved to be forged: raw, with the reason.
quarantine = Table(
    "quarantine",
    metadata,
    Column("delivery_id", LargeBinary, primary_key=True, comment="Names the call, as in events"),
    Column("received_at", Moment, nullable=False, comment="When the call came in (UTC)"),
    Column("path", Text, nullable=False, comment="The path at the endpoint to which it was posted"),
    Column("content_type", Text, nullable=False, comment="Its content type"),
    Column("body", LargeBinary, nullable=False, comment="Its body, as it came"),
    Column("reason", Text, nullable=False, comment="Why it is here"),
    comment="Calls that could not be read or stored as events, or that proved to be forged",
)

#: Calls whose signer's key was not available when they came in, with what it takes to verify them later. `digest`
#: is that of `ingest.copernica.signature.identity`, and part of the key: a signature that somebody repeats with
#: another body, target or header must not displace the genuine call.
unverified = Table(
    "unverified",
    metadata,
    Column("delivery_id", LargeBinary, primary_key=True, comment="Names the call, as in events"),
    Column("digest", LargeBinary, primary_key=True, comment="A hash over all that the signature covers"),
    Column("received_at", Moment, nullable=False, comment="When the call came in (UTC)"),
    Column("path", LargeBinary, nullable=False, comment="The path and query, as they came"),
    Column("content_type", LargeBinary, nullable=False, comment="Its content type"),
    Column("headers", LargeBinary, nullable=False, comment="The headers that it takes to verify the call"),
    Column("body", LargeBinary, nullable=False, comment="Its body, as it came"),
    Column("key_id", Text, nullable=False, comment="The key that is waited for"),
    comment="Calls that wait for the public key with which to verify them",
)

#: What a drain stored and no worker has handed on yet: `count` calls of one type, packed as in the stream. Written
#: in one transaction with the events, so that whatever is stored is handed on, no matter what is killed.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Counter, primary_key=True, comment="Counts up"),
    Column("type", Text, nullable=False, comment="The type of the events"),
    Column("count", Integer, nullable=False, comment="How many calls"),
    Column("packed", LargeBinary, nullable=False, comment="The calls, packed as in the stream"),
    comment="Stored calls that no handler was given yet",
)

#: What handlers have to do: `count` calls for one handler. Times are µs since 1970. The worker that works on a row
#: keeps `leased_until` in the future, and uses `slots` of the handler's concurrency meanwhile. `attempt` is how
#: often the calls were tried, and `crashes` how often a worker died while it worked on them. Calls `apart` are
#: part of a batch that failed, and are claimed without any others. `error` is what one of them failed with last,
#: where that is known, in one line.
handoffs = Table(
    "handoffs",
    metadata,
    Column("id", Counter, primary_key=True, comment="Counts up"),
    Column("handler", Text, nullable=False, comment="The name of the handler"),
    Column("count", Integer, nullable=False, comment="How many calls"),
    Column("packed", LargeBinary, nullable=False, comment="The calls, packed as in the stream"),
    Column("attempt", Integer, nullable=False, comment="How often they were tried"),
    Column("crashes", Integer, nullable=False, comment="How often a worker died while it worked on them"),
    Column("due_at", BigInteger, nullable=False, comment="When to try them (microseconds since 1970)"),
    Column(
        "leased_until",
        BigInteger,
        nullable=False,
        comment="Until when they are one worker's (microseconds since 1970)",
    ),
    Column("slots", Integer, nullable=False, comment="How much of the handler's concurrency they take"),
    Column(
        "apart",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="Whether they are tried without any others",
    ),
    Column("error", Text, comment="What one of them failed with last, in one line"),
    comment="Calls that handlers have to work on",
)

#: Calls that failed in a handler at the last attempt, too. They are kept whole (`packed`), so that they can be
#: retried whatever became of the event.
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("handler", Text, primary_key=True, comment="The name of the handler"),
    Column("delivery_id", LargeBinary, primary_key=True, comment="Names the call, as in events"),
    Column("type", Text, nullable=False, comment="The type of the event"),
    Column("occurred_at", Moment, nullable=False, comment="When the event happened (UTC)"),
    Column("failed_at", Moment, nullable=False, comment="When the last attempt failed (UTC)"),
    Column("attempts", BigInteger, nullable=False, comment="How many attempts there were"),
    Column("error", Text, nullable=False, comment="What it failed with, in one line"),
    Column("traceback", Text, nullable=False, comment="Where in the handler"),
    Column("packed", LargeBinary, nullable=False, comment="The call, packed as in the stream"),
    comment="Calls that failed in a handler at the last attempt, too",
)

#: How far unfinished replays have got: the last delivery id and the number of events that were handed on.
replays = Table(
    "replays",
    metadata,
    Column("name", Text, primary_key=True, comment="Names the replay"),
    Column("after", LargeBinary, nullable=False, comment="The last delivery id that was handed on"),
    Column("done", Integer, nullable=False, comment="How many events were handed on"),
    comment="How far unfinished replays have got",
)

#: Who was erased, as keyed hashes, and when (Unix seconds): see `workers.store.tombstones`.
tombstones = Table(
    "tombstones",
    metadata,
    Column("digest", LargeBinary, primary_key=True, comment="A keyed hash of the address or profile"),
    Column("key", LargeBinary, nullable=False, comment="The key of that hash"),
    Column("erased_at", BigInteger, nullable=False, comment="When (Unix seconds)"),
    comment="Who was erased, as keyed hashes",
)

#: How many events there are, by the hour in which they occurred (`2026-11-20 09`, UTC), type, mailing (-1 for
#: none) and source: written in one transaction with the events. The numbers of all shards count together: see
#: `workers.store.event_counts`. `changes` is another number after each change, also of one that leaves the number
#: as it is: what was derived from these events is out of date if it differs.
event_counts = Table(
    "event_counts",
    metadata,
    Column("hour", Text, primary_key=True, comment="The hour in which they occurred, such as 2026-11-20 09 (UTC)"),
    Column("type", Text, primary_key=True, comment="The type of the events"),
    Column("mailing", BigInteger, primary_key=True, comment="Number of the mailing; -1: they name none"),
    Column("source", Text, primary_key=True, comment="webhook, logfile or rest, as in events"),
    Column("shard", Integer, primary_key=True, comment="Which of several writers added it"),
    Column("number", BigInteger, nullable=False, comment="How many events"),
    Column("changes", BigInteger, nullable=False, server_default="0", comment="Another number after each change"),
    comment="How many events there are; the numbers of all shards count together",
)

#: Tables that do not have everything yet of what was stored before they were made: only of events with a delivery
#: id below `done`. One that has everything has no row here.
fillings = Table(
    "fillings",
    metadata,
    Column("name", Text, primary_key=True, comment="The table"),
    Column("done", LargeBinary, nullable=False, comment="It has the events with a smaller delivery id"),
    comment="Tables that do not have everything yet of what was stored before they were made",
)

#: Results of comparing log files with the store: a row per run, day and kind of event, and one per run and day
#: without a kind, which says whether the day is complete. `details` is a JSON object of everything else.
reconciliations = Table(
    "reconciliations",
    metadata,
    Column("day", Date, primary_key=True, comment="The day (UTC)"),
    Column("kind", Text, primary_key=True, comment="The kind of event; empty: the day as a whole"),
    Column("finished_at", Moment, primary_key=True, comment="When it was compared (UTC)"),
    Column("origin", Text, nullable=False, comment="Where the log files came from"),
    Column("complete", Boolean, nullable=False, comment="Whether nothing is missing any more"),
    Column("in_log", BigInteger, nullable=False, comment="Lines in the log files"),
    Column("in_store", BigInteger, nullable=False, comment="Events that were in the store before"),
    Column("recovered", BigInteger, nullable=False, comment="Events that were added"),
    Column("only_in_store", BigInteger, nullable=False, comment="Events that the log files lack"),
    Column("unmatched", BigInteger, nullable=False, comment="Lines that cannot be read"),
    Column(
        "superseded",
        BigInteger,
        nullable=False,
        comment="Recovered events that were removed, since their calls came",
    ),
    Column(
        "clock_offset", BigInteger, nullable=False, comment="Seconds between the clocks of log files and calls"
    ),
    Column("error", Text, comment="Why it is not complete, in one line"),
    Column("details", Json, nullable=False, comment="Everything else: a JSON object"),
    comment="What came of comparing log files with the store",
)

#: What the database knows of itself, by name; see `workers.gaps.lineage`.
marks = Table(
    "marks",
    metadata,
    Column("name", Text, primary_key=True, comment="The name of a fact"),
    Column("value", Text, nullable=False, comment="The fact"),
    comment="What the database knows of itself",
)

# --- Alembic's own ---

#: The version of the schema, in its only row.
schema_version = Table("alembic_version", alembic_metadata, Column("version_num", Text, primary_key=True))
