"""Events of this month and of those around it, and the partitions of PostgreSQL that hold them."""

from datetime import UTC, datetime

from ingest.copernica.events import Event
from tests.support.builders import event
from tests.support.sql import rows
from workers.store.store import Store

THIS_MONTH = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month(ahead: int) -> datetime:
    """The beginning of this month, or of one so many months away."""
    months = THIS_MONTH.year * 12 + THIS_MONTH.month - 1 + ahead
    return THIS_MONTH.replace(year=months // 12, month=months % 12 + 1)


def partition(ahead: int) -> str:
    return f"events_{month(ahead):%Y_%m}"


def first_second(ahead: int) -> int:
    return int(month(ahead).timestamp())


def event_of_month(ahead: int, number: int = 1, seconds: int = 0) -> Event:
    """An event of so many seconds into a month."""
    return event(delivery_id=(first_second(ahead) + seconds).to_bytes(4, "big") + number.to_bytes(8, "big"))


def partitions(store: Store) -> list[str]:
    children = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass ORDER BY 1"
    return [name for (name,) in rows(store, children) if name != "events_other"]
