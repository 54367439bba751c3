"""The cookbook's pages, and the events that its results are of."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ingest.copernica.events import Event, EventType
from tests.support.builders import delivery_id, event
from tests.support.pages import DOCS
from workers.mailings.refresh import refresh
from workers.store import mailing_tables
from workers.store.store import Store

ENGLISH, DUTCH = DOCS / "cookbook.md", DOCS / "cookbook.nl.md"
#: What the pages call the databases.
TITLES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB"}
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15"
COMPUTER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
SHOP = "https://shop.example.nl/sale?to=1"

#: Who got which mailing (None: a receipt, which is of none) at what time, and what became of it: for each step,
#: how many minutes later and from which program.
SENT: list[tuple[int | None, str, str, dict[str, tuple[int, str | None]]]] = [
    (90210, "2026-11-16 09:00", "jan@example.nl", {"open": (12, PHONE), "click": (14, PHONE)}),
    (90210, "2026-11-16 09:00", "eva@example.nl", {"open": (95, COMPUTER), "click": (97, COMPUTER)}),
    (90210, "2026-11-16 09:01", "piet@gmail.com", {"open": (3, GMAIL)}),
    (90210, "2026-11-16 09:01", "anna@gmail.com", {}),
    (90210, "2026-11-16 09:01", "old@gone.example", {"failure": (0, None)}),
    (90211, "2026-11-23 09:00", "jan@example.nl", {"open": (1600, PHONE)}),
    (90211, "2026-11-23 09:00", "eva@example.nl", {"open": (20, COMPUTER), "unsubscribe": (21, COMPUTER)}),
    (90211, "2026-11-23 09:01", "anna@gmail.com", {"failure": (2, None)}),
    (None, "2026-11-24 20:15", "jan@example.nl", {"open": (2, PHONE)}),
]
FAILURES = {
    "old@gone.example": {"code": 550, "extended": "5.1.1", "description": "user unknown"},
    "anna@gmail.com": {"code": 452, "extended": "4.2.2", "description": "mailbox full"},
}


def _events() -> Iterator[Event]:
    number = 0
    for mailing, at, recipient, became in SENT:
        sent = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp())
        message = f"{mailing or 'receipt'}-{recipient.partition('@')[0]}"
        steps = became if "failure" in became else {"delivery": (1, None), **became}
        for kind, (minutes, agent) in steps.items():
            number += 1
            when = (sent + 60 * minutes) * 1_000_000
            told = (
                FAILURES[recipient] if kind == "failure" else {"code": None, "extended": None, "description": None}
            )
            yield event(
                delivery_id=delivery_id(number, when),
                type=EventType(kind),
                message_id=message,
                occurred_at=when,
                received_at=when,
                recipient=recipient,
                mailing=mailing,
                user_agent=agent,
                url=SHOP if kind == "click" else None,
                tags=["newsletter", "sale"] if mailing else ["receipt"],
                **told,
            )


def fill(store: Store) -> None:
    """Store the events, and make what views tell of them."""
    store.add(list(_events()))
    with store.writing() as connection:
        names = [("ms", 90210, "Black Friday", 5, None, 5, 1), ("ms", 90211, "Cyber Monday", 5, None, 3, 1)]
        store.insert(connection, mailing_tables.mailing_names, names)
        connection.exec_driver_sql("CREATE TABLE orders (email VARCHAR(320), ordered_at TIMESTAMP)")
        connection.exec_driver_sql("INSERT INTO orders VALUES ('Eva@example.nl', '2026-11-16 11:30:00')")
    while refresh(store, 60).left:
        pass


def shown(value: Any) -> str:
    """A value as the pages show it: times to the minute, numbers without a fraction that says nothing."""
    if value is None:
        return ""
    if isinstance(value, Decimal | float):
        return f"{float(value):g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    text = str(value)
    return text[:16] if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", text) else text


def table(names: list[str], rows: list[Any]) -> str:
    """A result as the pages show it."""
    cells = [names, *([shown(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def answer(store: Store, query: str) -> str:
    """What a database answers to a query, as the pages show it."""
    with store.engine.connect().execution_options(no_parameters=True) as connection:
        result = connection.exec_driver_sql(query.strip().rstrip(";"))
        return table(list(result.keys()), list(result.all()))
