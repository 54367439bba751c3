"""Tables of what is derived from the events of mailings, for their pages: see `workers.mailings`."""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Text

from workers.store.tables import metadata

#: Of each mailing (-1 for events that name none) a number that is another one after each change of its events:
#: written with `event_counts`, in whose shards it is.
mailing_changes = Table(
    "mailing_changes",
    metadata,
    Column("mailing", BigInteger, primary_key=True, autoincrement=False),
    Column("shard", Integer, primary_key=True),
    Column("changes", BigInteger, nullable=False),
)

#: The events of one type of a mailing in an hour, in figures: their `number`, hashes of their `messages`, and the
#: most frequent reasons, links, tags and clients (`tops`, JSON). `owner` is the mailing that the events name; of
#: events that name none, there is a row for each mailing that their messages are known to be of, and one for all.
#: `changes` is that of the `event_counts` that it was made from.
mailing_parts = Table(
    "mailing_parts",
    metadata,
    Column("owner", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("mailing", BigInteger, primary_key=True, autoincrement=False),
    Column("changes", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("messages", LargeBinary, nullable=False),
    Column("tops", Text, nullable=False),
)

#: What all parts of a mailing come to, `as_of` µs since 1970, made when the mailing's `changes` were these:
#: `kinds` has the number of events and of messages by type, `tops` the most frequent of all parts (both JSON).
mailing_figures = Table(
    "mailing_figures",
    metadata,
    Column("mailing", BigInteger, primary_key=True, autoincrement=False),
    Column("changes", BigInteger, nullable=False),
    Column("first_hour", Text, nullable=False),
    Column("last_hour", Text, nullable=False),
    Column("as_of", BigInteger, nullable=False),
    Column("kinds", Text, nullable=False),
    Column("tops", Text, nullable=False),
)

#: Events of a mailing by tag and type, of its most frequent tags.
mailing_tags = Table(
    "mailing_tags",
    metadata,
    Column("tag", Text, primary_key=True),
    Column("mailing", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

#: What Copernica tells of its mailings: `sent_at` is as Copernica writes it.
mailing_names = Table(
    "mailing_names",
    metadata,
    Column("product", Text, primary_key=True),
    Column("mailing", BigInteger, primary_key=True, autoincrement=False),
    Column("subject", Text),
    Column("template", BigInteger),
    Column("sent_at", Text),
    Column("destinations", BigInteger),
    Column("asked_at", BigInteger, nullable=False),
)
