"""The queries of the views in `workers.store.views`, in the words of each kind of database."""

from collections.abc import Mapping
from typing import NamedTuple

from ingest.copernica.event_types import EventType
from workers.store.views import (
    NAMES,
    RATES,
    READS,
    daily_stats,
    device_stats,
    last_events,
    mailing_stats,
    message_stats,
    tag_stats,
    template_stats,
)


class Words(NamedTuple):
    """How one kind of database says what is not the same in all."""

    #: The day of an event.
    day: str
    #: Whole numbers and fractions from what adding up gives.
    whole: str
    real: str
    #: The hour that a text (`2026-11-20 09`) names, as a time.
    hour: str
    #: A time in µs since 1970, as a time.
    micros: str
    #: One, as a number with which a division has a fraction; and a whole number that is not known.
    one: str
    null: str
    #: A number of a type in the text `kinds` of `mailing_figures`: a list of events and messages.
    number: str


WORDS: Mapping[str, Words] = {
    "sqlite": Words(
        "date(occurred_at)",
        "{}",
        "CAST({} AS REAL)",
        "({} || ':00:00')",
        "strftime('%Y-%m-%d %H:%M:%S', {} / 1000000, 'unixepoch')",
        "1.0",
        "NULL",
        "json_extract(kinds, '$.{}[{}]')",
    ),
    "postgresql": Words(
        "(occurred_at AT TIME ZONE 'UTC')::date",
        "({})::bigint",
        "({})::double precision",
        "({} || ':00:00+00')::timestamptz",
        "to_timestamp({} / 1000000)",
        "1.0",
        "CAST(NULL AS bigint)",
        "(kinds::json -> '{}' ->> {})::bigint",
    ),
    "mysql": Words(
        "date(occurred_at)",
        "CAST({} AS SIGNED)",
        "(1e0 * ({}))",
        "CAST(concat({}, ':00:00') AS DATETIME)",
        "timestampadd(SECOND, {} DIV 1000000, '1970-01-01 00:00:00')",
        "1e0",
        "NULL",
        "CAST(json_extract(kinds, '$.{}[{}]') AS SIGNED)",
    ),
}


def definitions(dialect: str) -> dict[str, str]:
    """The query of each view in a kind of database, by the view's name."""
    return {
        view.name: make(WORDS[dialect])
        for view, make in (
            (message_stats, _message_stats),
            (daily_stats, _daily_stats),
            (last_events, _last_events),
            (mailing_stats, _mailing_stats),
            (template_stats, _template_stats),
            (tag_stats, _tag_stats),
            (device_stats, _device_stats),
        )
    }


# --- from the events ---


def _count(*types: str) -> str:
    return f"count(CASE WHEN type IN ({', '.join(map(repr, types))}) THEN 1 END)"


def _first(kind: str) -> str:
    return f"min(CASE WHEN type = '{kind}' THEN occurred_at END)"


#: What `message_stats` tells of a message, each by an expression over its events.
MESSAGE: Mapping[str, str] = {
    "first_event": "min(occurred_at)",
    "deliveries": _count("delivery"),
    "opens": _count("open"),
    "clicks": _count("click"),
    "failures": _count("bounce", "failure"),
    "bounces": _count("bounce"),
    "unsubscribes": _count("unsubscribe"),
    "complaints": _count("abuse"),
    "first_delivery": _first("delivery"),
    "first_open": _first("open"),
    "first_click": _first("click"),
    "last_event": "max(occurred_at)",
    "mailing": "max(mailing)",
}


def _message_stats(_words: Words) -> str:
    columns = ", ".join(f"{expression} AS {name}" for name, expression in MESSAGE.items())
    return f"SELECT message_id, {columns} FROM events WHERE message_id IS NOT NULL GROUP BY message_id"


def _daily_stats(words: Words) -> str:
    failed, sent = _count("bounce", "failure"), _count("bounce", "failure", "delivery")
    rate = f"{failed} * {words.one} / nullif({sent}, 0)"
    return f"""SELECT {words.day} AS day, {_count("delivery")} AS deliveries, {_count("open")} AS opens,
        {_count("click")} AS clicks, {_count("bounce")} AS bounces, {_count("failure")} AS failures,
        count(DISTINCT CASE WHEN type = 'open' THEN lower(recipient) END) AS unique_openers,
        {rate} AS bounce_rate
        FROM events GROUP BY 1"""


def _last_events(_words: Words) -> str:
    return """SELECT recipient, type, occurred_at, message_id FROM (
        SELECT lower(substr(recipient, 1, 320)) AS recipient, type, occurred_at, message_id, row_number() OVER (
            PARTITION BY lower(substr(recipient, 1, 320)) ORDER BY occurred_at DESC, delivery_id DESC) AS place
        FROM events WHERE recipient IS NOT NULL) AS ranked WHERE place = 1"""


# --- from what is counted ---

#: Names of mailings, each once.
_NAMED = """SELECT mailing, CASE WHEN count(*) = 1 THEN max(subject) END AS subject,
        CASE WHEN count(*) = 1 THEN max(template) END AS template, max(destinations) AS sent
        FROM mailing_names GROUP BY mailing"""
#: What Copernica counts as delivered.
_TOTALS = """SELECT mailing, sum(coalesce(theirs_unique, theirs)) AS theirs FROM mailing_totals
        WHERE kind = 'delivery' GROUP BY mailing"""
#: Messages of which rates are parts: see `workers.mailings.figures.Figures.base`.
_BASE = """CASE WHEN coalesce(unique_deliveries, 0) < coalesce(theirs, 0) THEN theirs
        WHEN unique_deliveries > 0 AND unique_deliveries >= coalesce(unique_opens, 0)
            AND unique_deliveries >= coalesce(unique_clicks, 0) THEN unique_deliveries
        WHEN sent > 0 AND sent >= coalesce(unique_opens, 0) AND sent >= coalesce(unique_clicks, 0) THEN sent END"""


def _listed(*columns: str) -> str:
    return ", ".join(columns)


def _both() -> str:
    return _listed(*(f"{name}, unique_{name}" for name in NAMES.values()))


def _parts_of_base(words: Words) -> str:
    rates = [
        f"{words.real.format(f'unique_{NAMES[kind]}')} / nullif(base, 0) AS {rate}" for kind, rate in RATES.items()
    ]
    return _listed(*rates, f"{_to_open(words)} AS click_to_open_rate")


def _to_open(words: Words) -> str:
    return f"{words.real.format('unique_clicks')} / nullif(unique_opens, 0)"


def _made(words: Words) -> str:
    """Numbers of all types from a row of `mailing_figures`."""
    found = []
    for kind, name in NAMES.items():
        found.append(f"coalesce({words.number.format(kind.value, 0)}, 0) AS {name}")
        found.append(f"coalesce({words.number.format(kind.value, 1)}, 0) AS unique_{name}")
    return _listed(*found)


def _mailing_stats(words: Words) -> str:
    """A row per mailing is read, however many events there are."""
    joined = f"""SELECT mailing_figures.mailing, named.subject, named.template, {words.hour.format("first_hour")}
        AS first_hour, {words.hour.format("last_hour")} AS last_hour, {_made(words)}, sent, theirs,
        {words.micros.format("as_of")} AS as_of FROM mailing_figures
        LEFT JOIN ({_NAMED}) AS named ON named.mailing = mailing_figures.mailing
        LEFT JOIN ({_TOTALS}) AS totals ON totals.mailing = mailing_figures.mailing
        WHERE mailing_figures.mailing > 0 AND mailing_figures.first_hour > ''"""
    based = f"""SELECT mailing, subject, template, first_hour, last_hour, {_both()},
        {words.whole.format(_BASE)} AS base, as_of FROM ({joined}) AS joined"""
    return f"""SELECT mailing, subject, template, first_hour, last_hour, {_both()}, base,
        {_parts_of_base(words)}, as_of FROM ({based}) AS based"""


def _template_stats(words: Words) -> str:
    """From the same rows."""
    joined = f"""SELECT product, template, mailing_figures.last_hour, {_made(words)}, destinations AS sent, theirs
        FROM mailing_names JOIN mailing_figures ON mailing_figures.mailing = mailing_names.mailing
        LEFT JOIN ({_TOTALS}) AS totals ON totals.mailing = mailing_names.mailing
        WHERE template IS NOT NULL AND mailing_figures.last_hour > ''"""
    based = f"SELECT product, template, last_hour, {_both()}, {_BASE} AS base FROM ({joined}) AS joined"
    sums = _listed(
        *(
            f"{words.whole.format(f'sum({each})')} AS {each}"
            for name in NAMES.values()
            for each in (name, f"unique_{name}")
        )
    )
    summed = f"""SELECT product, template, count(*) AS mailings, {words.hour.format("max(last_hour)")}
        AS last_hour, {sums}, CASE WHEN count(base) = count(*) THEN {words.whole.format("sum(base)")} END AS base
        FROM ({based}) AS based GROUP BY product, template"""
    return f"""SELECT product, template, mailings, last_hour, {_both()}, base, {_parts_of_base(words)}
        FROM ({summed}) AS summed"""


def _of_cut(words: Words, *types: EventType) -> str:
    """Sums over rows of one type each; of messages, only if they are known of all rows."""
    found = []
    for kind in types:
        of_kind, name = f"CASE WHEN type = '{kind.value}' THEN", NAMES[kind]
        unknown = f"count(CASE WHEN type = '{kind.value}' AND messages IS NULL THEN 1 END) = 0"
        found.append(f"{words.whole.format(f'coalesce(sum({of_kind} number END), 0)')} AS {name}")
        messages = words.whole.format(f"coalesce(sum({of_kind} messages END), 0)")
        found.append(f"CASE WHEN {unknown} THEN {messages} END AS unique_{name}")
    return _listed(*found)


def _tag_stats(words: Words) -> str:
    summed = f"""SELECT tag, count(DISTINCT CASE WHEN mailing > 0 THEN mailing END) AS mailings,
        {_of_cut(words, *NAMES)} FROM mailing_tags GROUP BY tag"""
    base = """CASE WHEN unique_deliveries > 0 AND unique_deliveries >= unique_opens
        AND unique_deliveries >= unique_clicks THEN unique_deliveries END"""
    based = f"SELECT tag, mailings, {_both()}, {base} AS base FROM ({summed}) AS summed"
    return f"SELECT tag, mailings, {_both()}, base, {_parts_of_base(words)} FROM ({based}) AS based"


def _device_stats(words: Words) -> str:
    columns = "device, opens, unique_opens, clicks, unique_clicks"
    summed = f"""SELECT mailing, device, {_of_cut(words, *READS)} FROM mailing_devices WHERE mailing > 0
        GROUP BY mailing, device
        UNION ALL SELECT {words.null}, device, {_of_cut(words, *READS)} FROM mailing_devices WHERE mailing <= 0
        GROUP BY device"""
    return f"SELECT mailing, {columns}, {_to_open(words)} AS click_to_open_rate FROM ({summed}) AS summed"
