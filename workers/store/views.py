"""The views: answers to what people ask of the events, the same in each kind of database.

`mailing_stats`, `template_stats`, `tag_stats` and `device_stats` tell what `workers.mailings` has made of the
events, some seconds after they were stored: so they read a few rows of each mailing, however many events it has.
`message_stats`, `daily_stats` and `last_events` read the events themselves. The SQL is in
`workers.store.view_queries`.
"""

from collections.abc import Mapping

from sqlalchemy import BigInteger, Column, Date, DateTime, Float, MetaData, Table, Text

from ingest.copernica.event_types import EventType

view_metadata = MetaData()

#: The name of a type of event in columns.
NAMES: Mapping[EventType, str] = {
    EventType.DELIVERY: "deliveries",
    EventType.OPEN: "opens",
    EventType.CLICK: "clicks",
    EventType.UNSUBSCRIBE: "unsubscribes",
    EventType.ABUSE: "complaints",
    EventType.BOUNCE: "bounces",
    EventType.FAILURE: "failures",
}
#: The name of the part of the messages that had an event of a type.
RATES: Mapping[EventType, str] = {
    EventType.OPEN: "open_rate",
    EventType.CLICK: "click_rate",
    EventType.UNSUBSCRIBE: "unsubscribe_rate",
    EventType.ABUSE: "complaint_rate",
    EventType.BOUNCE: "bounce_rate",
    EventType.FAILURE: "failure_rate",
}
#: The types that a person's program sends.
READS = EventType.OPEN, EventType.CLICK
_MOMENT = DateTime(timezone=True)


def _numbers(*types: EventType) -> list[Column[int]]:
    found = []
    for kind in types:
        name = NAMES[kind]
        found.append(Column(name, BigInteger, comment=f"Events of type {kind.value}"))
        found.append(Column(f"unique_{name}", BigInteger, comment=f"Messages with an event of type {kind.value}"))
    return found


def _rates(base: str) -> list[Column[float]]:
    found = [
        Column(rate, Float, comment=f"unique_{NAMES[kind]} / {base}, from 0 to 1; null: not known")
        for kind, rate in RATES.items()
    ]
    to_open = Column("click_to_open_rate", Float, comment="unique_clicks / unique_opens; null: there are no opens")
    return [*found, to_open]


message_stats = Table(
    "message_stats",
    view_metadata,
    Column("message_id", Text, comment="Copernica's id of the message"),
    Column("first_event", _MOMENT, comment="When the first of its events happened (UTC)"),
    Column("deliveries", BigInteger, comment="Events of type delivery"),
    Column("opens", BigInteger, comment="Events of type open"),
    Column("clicks", BigInteger, comment="Events of type click"),
    Column("failures", BigInteger, comment="Events of type failure or bounce"),
    Column("bounces", BigInteger, comment="Events of type bounce"),
    Column("unsubscribes", BigInteger, comment="Events of type unsubscribe"),
    Column("complaints", BigInteger, comment="Events of type abuse"),
    Column("first_delivery", _MOMENT, comment="When it was first delivered (UTC)"),
    Column("first_open", _MOMENT, comment="When it was first opened (UTC)"),
    Column("first_click", _MOMENT, comment="When it was first clicked (UTC)"),
    Column("last_event", _MOMENT, comment="When the last of its events happened (UTC)"),
    Column("mailing", BigInteger, comment="Number of its mailing, where one of its events names it"),
    comment="What became of each message",
)
daily_stats = Table(
    "daily_stats",
    view_metadata,
    Column("day", Date, comment="The day (UTC)"),
    Column("deliveries", BigInteger, comment="Events of type delivery"),
    Column("opens", BigInteger, comment="Events of type open"),
    Column("clicks", BigInteger, comment="Events of type click"),
    Column("bounces", BigInteger, comment="Events of type bounce"),
    Column("failures", BigInteger, comment="Events of type failure"),
    Column("unique_openers", BigInteger, comment="Addresses that opened anything on that day"),
    Column("bounce_rate", Float, comment="(bounces + failures) / (bounces + failures + deliveries)"),
    comment="Events by day",
)
last_events = Table(
    "last_events",
    view_metadata,
    Column("recipient", Text, comment="The address in lower case, at most 320 characters of it"),
    Column("type", Text, comment="The type of the event"),
    Column("occurred_at", _MOMENT, comment="When it happened (UTC)"),
    Column("message_id", Text, comment="Copernica's id of the message"),
    comment="The last event of each address",
)
mailing_stats = Table(
    "mailing_stats",
    view_metadata,
    Column("mailing", BigInteger, comment="Number of the mailing at Copernica"),
    Column("subject", Text, comment="Its subject, where Copernica told it and only one product has this mailing"),
    Column("template", BigInteger, comment="Number of its template, likewise"),
    Column("first_hour", _MOMENT, comment="The hour of its first event (UTC)"),
    Column("last_hour", _MOMENT, comment="The hour of its last event (UTC)"),
    *_numbers(*NAMES),
    Column("base", BigInteger, comment="Delivered messages, of which rates are parts; null: not known"),
    *_rates("base"),
    Column("as_of", _MOMENT, comment="When all this was counted (UTC)"),
    comment="Each mailing in numbers, as ingest mailings shows it",
)
template_stats = Table(
    "template_stats",
    view_metadata,
    Column("product", Text, comment="ms (Marketing Suite) or publisher"),
    Column("template", BigInteger, comment="Number of the template at Copernica"),
    Column("mailings", BigInteger, comment="Mailings that used it and have events"),
    Column("last_hour", _MOMENT, comment="The hour of the last event of these (UTC)"),
    *_numbers(*NAMES),
    Column("base", BigInteger, comment="Delivered messages, as in mailing_stats; null: not known of each mailing"),
    *_rates("base"),
    comment="Each template in numbers, over all its mailings",
)
tag_stats = Table(
    "tag_stats",
    view_metadata,
    Column("tag", Text, comment="The tag, at most 160 characters of it"),
    Column("mailings", BigInteger, comment="Mailings with that tag"),
    *_numbers(*NAMES),
    Column(
        "base", BigInteger, comment="unique_deliveries, of which rates are parts; null: fewer than were opened"
    ),
    *_rates("base"),
    comment="Each tag in numbers, over all mailings and the messages that are of none",
)
device_stats = Table(
    "device_stats",
    view_metadata,
    Column("mailing", BigInteger, comment="Number of the mailing at Copernica; null: messages that are of none"),
    Column("device", Text, comment="phone, tablet, desktop, mail-client, proxy, bot or unknown"),
    *_numbers(*READS),
    Column("click_to_open_rate", Float, comment="unique_clicks / unique_opens; null: there are no opens"),
    comment="Opens and clicks of each mailing by kind of device",
)
