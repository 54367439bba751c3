"""Tables of what may be missing, what was recovered, and what it is held against."""

from sqlalchemy import BigInteger, Boolean, Column, Date, LargeBinary, Table, Text

from workers.store.table_types import Counter, Json, Moment, metadata

#: Periods in which an endpoint process surely took calls, in µs since 1970, each under a name of its own. `ended`
#: is how one is known to have ended, if it is. `up_…` is the same by the clock of the machine since its start
#: `boot`, which does not jump; see `workers.gaps`. The row with an empty name stands for what is no longer kept.
coverage = Table(
    "coverage",
    metadata,
    Column("endpoint", Text, primary_key=True, comment="Names the period; empty: what is no longer kept"),
    Column("since", BigInteger, nullable=False, comment="Its begin (microseconds since 1970)"),
    Column("through", BigInteger, nullable=False, comment="Its end (microseconds since 1970)"),
    Column("ended", Text, comment="How it ended, if that is known"),
    Column("boot", Text, comment="Which start of the machine up_since and up_through count from"),
    Column(
        "up_since", BigInteger, nullable=False, comment="Its begin by the clock that does not jump (microseconds)"
    ),
    Column("up_through", BigInteger, nullable=False, comment="Its end by that clock (microseconds)"),
    comment="Periods in which an endpoint process surely took calls",
)

#: Periods in which calls may be missing, in µs since 1970 (`until` is None while one lasts), why, and what became
#: of them, since `changed_at` (µs). `details` is a JSON object of everything else; see `workers.gaps.gap`.
gaps = Table(
    "gaps",
    metadata,
    Column("since", BigInteger, primary_key=True, comment="Its begin (microseconds since 1970)"),
    Column("cause", Text, primary_key=True, comment="Why calls may be missing"),
    Column("until", BigInteger, comment="Its end (microseconds since 1970); null: it lasts"),
    Column("state", Text, nullable=False, comment="What became of it"),
    Column("changed_at", BigInteger, nullable=False, comment="Since when (microseconds since 1970)"),
    Column("details", Json, nullable=False, comment="Everything else: a JSON object"),
    comment="Periods in which calls may be missing",
)

#: Which message each destination of Copernica's is: its REST results name the number, its webhooks the message id.
#: `product` is `ms` (Marketing Suite) or `publisher`; they were asked for `kept_at`, in Unix seconds.
destinations = Table(
    "destinations",
    metadata,
    Column("product", Text, primary_key=True, comment="ms (Marketing Suite) or publisher"),
    Column("destination", BigInteger, primary_key=True, comment="Number of the destination at Copernica"),
    Column("message_id", Text, nullable=False, comment="The id of its message, as in events"),
    Column("mailing", BigInteger, comment="Number of its mailing"),
    Column("profile", BigInteger, comment="Number of its profile"),
    Column("subprofile", BigInteger, comment="Number of its subprofile"),
    Column("kept_at", BigInteger, nullable=False, comment="When Copernica told it (Unix seconds)"),
    comment="Which message each destination of Copernica's is",
)

#: Events that were recovered, so that a call which comes in later is known for its event (see
#: `workers.store.late_calls`). `message` is a hash of the message id, `second` the event's time by the webhooks'
#: clock, `spread` by how many seconds that may vary (None if the offset of the clocks was not measured), and
#: `latest` the last second that the call can tell. `call_id` is the delivery id of the call that the event was
#: upgraded with; the event keeps its own.
recovered = Table(
    "recovered",
    metadata,
    Column("number", Counter, primary_key=True, comment="Counts up"),
    Column("message", BigInteger, nullable=False, comment="A hash of the message id"),
    Column("type", Text, nullable=False, comment="The type of the event"),
    Column("second", BigInteger, nullable=False, comment="When it happened, by the clock of calls (Unix seconds)"),
    Column("spread", BigInteger, comment="By how many seconds that may vary; null: not known"),
    Column("latest", BigInteger, nullable=False, comment="The last second that the call can tell (Unix seconds)"),
    Column("handed_on", Boolean, nullable=False, comment="Whether handlers were given it"),
    Column("delivery_id", LargeBinary, nullable=False, comment="The event, as in events"),
    Column("call_id", LargeBinary, comment="The delivery id of the call that came late"),
    comment="Events that were recovered, so that a call which comes late is known for its event",
)

#: Comparisons that are under way: of events of a type, from second `since` through `until`. Drains note in
#: `comparison_calls` of which messages they stored a call of those meanwhile.
comparisons = Table(
    "comparisons",
    metadata,
    Column("number", Counter, primary_key=True, comment="Counts up"),
    Column("type", Text, nullable=False, comment="The type of the events"),
    Column("since", BigInteger, nullable=False, comment="The first second (Unix seconds)"),
    Column("until", BigInteger, nullable=False, comment="The last second (Unix seconds)"),
    Column("began", BigInteger, nullable=False, comment="When it began (Unix seconds)"),
    comment="Comparisons of log files with the store that are under way",
)
comparison_calls = Table(
    "comparison_calls",
    metadata,
    Column("number", Counter, primary_key=True, comment="Counts up"),
    Column("comparison", BigInteger, nullable=False, comment="The number of the comparison"),
    Column("message", BigInteger, nullable=False, comment="A hash of the message id"),
    comment="Messages of which calls were stored while a comparison is under way",
)

#: The totals of a mailing on a day (UTC) at Copernica beside ours, by kind of event, when they were last compared;
#: `agrees` is None where there was nothing to compare. `product` is `ms`, `publisher`, `both`, or empty where
#: Copernica knows the mailing in neither; see `workers.totals`.
mailing_totals = Table(
    "mailing_totals",
    metadata,
    Column("day", Date, primary_key=True, comment="The day (UTC)"),
    Column(
        "product", Text, primary_key=True, comment="ms, publisher, both; empty: Copernica knows no such mailing"
    ),
    Column("mailing", BigInteger, primary_key=True, comment="Number of the mailing"),
    Column("kind", Text, primary_key=True, comment="The type of the events"),
    Column("checked_at", Moment, nullable=False, comment="When they were compared (UTC)"),
    Column("theirs", BigInteger, comment="Events that Copernica counts"),
    Column("theirs_unique", BigInteger, comment="Messages that Copernica counts"),
    Column("ours", BigInteger, nullable=False, comment="Events in the store"),
    Column("ours_unique", BigInteger, nullable=False, comment="Messages in the store"),
    Column("agrees", Boolean, comment="Whether they agree; null: there was nothing to compare"),
    Column("details", Json, nullable=False, comment="Everything else: a JSON object"),
    comment="Copernica's totals of a mailing on a day beside ours",
)

#: Whether all totals of a day agree, which stays once they do; `why` not, or why that is not known.
day_totals = Table(
    "day_totals",
    metadata,
    Column("day", Date, primary_key=True, comment="The day (UTC)"),
    Column("first_at", Moment, nullable=False, comment="When it was first compared (UTC)"),
    Column("checked_at", Moment, nullable=False, comment="When it was last compared (UTC)"),
    Column("attempts", BigInteger, nullable=False, comment="How often"),
    Column("agrees", Boolean, comment="Whether they agree; null: not known"),
    Column("why", Text, nullable=False, comment="Why they do not, or why that is not known"),
    Column("details", Json, nullable=False, comment="Everything else: a JSON object"),
    comment="Whether all totals of a day agree",
)
