"""Tables of what is derived from the events of mailings, for their pages: see `workers.mailings`."""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Text

from workers.store.tables import metadata

#: Of each mailing (-1 for events that name none) a number that is another one after each change of its events:
#: written with `event_counts`, in whose shards it is.
mailing_changes = Table(
    "mailing_changes",
    metadata,
    Column(
        "mailing",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="Number of the mailing; -1: events that name none",
    ),
    Column("shard", Integer, primary_key=True, comment="Which of several writers added it"),
    Column("changes", BigInteger, nullable=False, comment="The number"),
    comment="Another number after each change of a mailing's events",
)

#: The events of one type of a mailing in an hour, in figures: their `number`, hashes of their `messages`, and the
#: most frequent reasons, links, tags and clients (`tops`, JSON). `owner` is the mailing that the events name; of
#: events that name none, there is a row for each mailing that their messages are known to be of, and one for all.
#: `changes` is that of the `event_counts` that it was made from.
mailing_parts = Table(
    "mailing_parts",
    metadata,
    Column(
        "owner",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="The mailing that the events name; -1: none",
    ),
    Column("hour", Text, primary_key=True, comment="The hour in which they occurred (UTC)"),
    Column("type", Text, primary_key=True, comment="The type of the events"),
    Column("mailing", BigInteger, primary_key=True, autoincrement=False, comment="The mailing that they are of"),
    Column("changes", BigInteger, nullable=False, comment="That of the event_counts that it was made from"),
    Column("number", BigInteger, nullable=False, comment="How many events"),
    Column("messages", LargeBinary, nullable=False, comment="Hashes of their messages, 8 bytes each"),
    Column(
        "tops", Text, nullable=False, comment="The most frequent reasons, links, tags and others: a JSON object"
    ),
    Column(
        "cuts", Text, comment="Which of the messages have which tag and device: a JSON object; null: not known"
    ),
    comment="The events of one type of a mailing in an hour, in figures",
)

#: What all parts of a mailing come to, `as_of` µs since 1970, made when the mailing's `changes` were these:
#: `kinds` has the number of events and of messages by type, `tops` the most frequent of all parts (both JSON).
mailing_figures = Table(
    "mailing_figures",
    metadata,
    Column("mailing", BigInteger, primary_key=True, autoincrement=False, comment="Number of the mailing"),
    Column("changes", BigInteger, nullable=False, comment="That of mailing_changes when they were made"),
    Column("first_hour", Text, nullable=False, comment="The hour of its first event (UTC)"),
    Column("last_hour", Text, nullable=False, comment="The hour of its last event (UTC)"),
    Column("as_of", BigInteger, nullable=False, comment="When they were made (microseconds since 1970)"),
    Column("kinds", Text, nullable=False, comment="By type, how many events and messages: a JSON object"),
    Column(
        "tops", Text, nullable=False, comment="The most frequent reasons, links, tags and others: a JSON object"
    ),
    comment="The figures of a mailing: all its parts together",
)

#: Events of a mailing by tag and type, of its most frequent tags. Those of no mailing are gathered by day (UTC):
#: their `mailing` is minus the day, such as -20261120.
mailing_tags = Table(
    "mailing_tags",
    metadata,
    Column("tag", Text, primary_key=True, comment="The tag, at most 160 characters of it"),
    Column("mailing", BigInteger, primary_key=True, autoincrement=False, comment="Number of the mailing"),
    Column("type", Text, primary_key=True, comment="The type of the events"),
    Column("number", BigInteger, nullable=False, comment="How many events"),
    Column("messages", BigInteger, comment="How many messages they are of; null: not known yet"),
    comment="Events and messages of a mailing by tag, of its most frequent tags",
)

#: Opens and clicks of a mailing by the kind of device that they came from: see `ingest.copernica.user_agents`.
mailing_devices = Table(
    "mailing_devices",
    metadata,
    Column(
        "mailing",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="Number of the mailing, as in mailing_tags",
    ),
    Column("device", Text, primary_key=True, comment="phone, tablet, desktop, mail-client, proxy, bot or unknown"),
    Column("type", Text, primary_key=True, comment="The type of the events: open or click"),
    Column("number", BigInteger, nullable=False, comment="How many events"),
    Column("messages", BigInteger, comment="How many messages they are of; null: not known yet"),
    comment="Opens and clicks of a mailing, and of how many messages, by kind of device",
)

#: What Copernica tells of its mailings: `sent_at` is as Copernica writes it.
mailing_names = Table(
    "mailing_names",
    metadata,
    Column("product", Text, primary_key=True, comment="ms (Marketing Suite) or publisher"),
    Column("mailing", BigInteger, primary_key=True, autoincrement=False, comment="Number of the mailing"),
    Column("subject", Text, comment="Its subject"),
    Column("template", BigInteger, comment="Number of its template"),
    Column("sent_at", Text, comment="When it was sent, as Copernica writes it"),
    Column("destinations", BigInteger, comment="To how many it was sent"),
    Column("asked_at", BigInteger, nullable=False, comment="When Copernica told it (Unix seconds)"),
    comment="What Copernica tells of its mailings",
)
