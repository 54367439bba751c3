"""Every page of the console with every filter that it has: what one database takes, another may refuse."""

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
import redis

from ingest.copernica.event_types import EventType
from tests.support.builders import event
from tests.support.console import console
from tests.support.console_forms import EVENT, LETTER, address, fill
from tests.support.console_routes import routes
from workers.operations import audit
from workers.store.store import Store

#: Why something is not shown.
WHY = re.compile('class="unavailable">(.*?)</div>|<main.*?</main>', re.DOTALL)
#: What people type, or others put into an address: with what stands for something in SQL, in each database.
TEXTS = ("jan@example.nl", "100%_'\"\\;--", "\N{GRINNING FACE} é", "a\0b", "x" * 1900, "\ud800", "   ")
NUMBERS = ("0", "4711", "9223372036854775807", "9223372036854775808", "-1", "1e3", "\0")
TIMES = (
    "2026-11-20T09:00",
    "0001-01-01T00:00",
    "9999-12-31T23:59:59",
    "1969-12-31T00:00",
    "2026-02-30T00:00",
    "\0",
)
PLACES = ("1700000000000000-", f"1700000000000000-{'ab' * 12}", "9999999999999999-", "0-", "\0")
KEYS = ("00", "ff" * 32, "zz", "\0")

#: By page, the values of each of its fields.
FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "/events": {
        **dict.fromkeys(("recipient", "message", "tag", "text"), TEXTS),
        **dict.fromkeys(("mailing", "profile"), NUMBERS),
        **dict.fromkeys(("since", "until"), TIMES),
        **dict.fromkeys(("before", "after"), PLACES),
        "type": (*EventType, "nothing", "\0"),
        "source": ("webhook", "logfile", "rest", "other"),
        "last": ("1h", "24h", "7d", "30d", "1y"),
        "tz": ("Europe/Amsterdam", "Nowhere/At all", "../x", "\0"),
        "col": ("ago", "ip", "none"),
    },
    "/dead-letters": {
        **dict.fromkeys(("handler", "error"), TEXTS),
        **dict.fromkeys(("since", "until"), TIMES),
        "type": ("open", "nothing"),
        "after": ("\0", "1-00-crm", "x"),
    },
    "/handler": {"name": ("crm", *TEXTS), "before": NUMBERS, "runs": ("failed", "done", "\0")},
    "/mailings": {"number": NUMBERS, "after": ("2026-11-20.09.4711", "9999-99-99.99.1", "\0")},
    "/mailings/compare": {"m": ("4711 4712", *NUMBERS)},
    "/mailings/tag": {"name": TEXTS},
    "/message": {"id": ("5fd2", *TEXTS), "after": PLACES},
    "/recipient": {"address": TEXTS, "before": PLACES},
    "/quarantine": dict.fromkeys(("before", "after"), KEYS),
    "/audit": {**dict.fromkeys(("who", "action"), ("jan", *TEXTS)), "before": NUMBERS},
    "/gaps": {"before": ("1.marker", "9999999999999999.x", "\0"), "unclosed": ("1",)},
    "/days": {"until": ("2026-11", "0001-01", "9999-12", "\0")},
    "/day/2026-11-20": {"run": ("20261120T090000000000", *TEXTS)},
    "/refusals": {"reason": TEXTS},
}


def asked_for() -> Iterator[str]:
    """The address of each page as it is, and with each of its filters, and of events with two of them."""
    yield from (address(route) for route in sorted(routes()))
    for page, fields in FIELDS.items():
        needed = {"name": "crm"} if page == "/handler" else {}
        for name, values in fields.items():
            yield from (f"{page}?{query({**needed, name: value})}" for value in values)
    for kind, (name, value) in product(("open", "failure"), [("mailing", "4711"), ("tag", "a"), ("text", "jan")]):
        yield f"/events?{query({'type': kind, name: value, 'since': '2026-11-01T00:00', 'source': 'webhook'})}"
    for form in ("csv", "jsonl"):
        yield f"/events/export?{query({'format': form, 'recipient': 'jan@example.nl'})}"
    for path in (*KEYS[:2], EVENT.delivery_id.hex(), LETTER.delivery_id.hex()):
        yield from (
            f"/event/{path}",
            f"/event/{path}/json",
            f"/quarantine/{path}",
            f"/dead-letter/{path}?handler=a",
        )
    for day in ("0001-01-01", "1969-12-31", "2026-11-20", "9999-12-31"):
        yield f"/day/{day}"


def query(fields: dict[str, str]) -> str:
    return urlencode(
        {name: value.encode("utf-8", "surrogatepass") for name, value in fields.items()}, quote_via=quote
    )


@pytest.mark.timeout(300)
async def test_no_filter_of_any_page_fails_on_any_database(
    database: str, store: Store, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    environ = {"DATABASE_URL": database, "REDIS_URL": redis_url, "INGEST_DATA_DIR": str(tmp_path)}
    fill(store, client)
    kinds = [EventType.OPEN, EventType.CLICK, EventType.FAILURE, EventType.DELIVERY]
    store.add([event(100 + at, type=kind, mailing=4711, tags=["a", "b"]) for at, kind in enumerate(kinds)])
    audit.noted(store, "jan", audit.CONSOLE, "retry", {"handler": "crm"}, lambda: 1)
    failed = {}
    async with console(environ) as visitor:
        for page in asked_for():
            answer = await visitor.get(page)
            text = await answer.text("utf-8", "replace")
            if answer.status >= 500 or 'class="unavailable"' in text:
                failed[page] = answer.status, WHY.findall(text)
    assert failed == {}
