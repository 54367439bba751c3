"""How late handlers are."""

from collections.abc import Callable

from sqlalchemy import func, select

from ingest.batch import unpack
from ingest.copernica.events import MICROS
from workers.handlers.clock import machine_time
from workers.store.store import Store
from workers.store.tables import handoffs, outbox


def seconds_behind(store: Store, ask: Callable[[], int] = machine_time) -> dict[str, float]:
    """By handler, since when the oldest of its calls could have been made, be it claimed or not.

    What is in the outbox is under an empty name: since its oldest call came in. `ask` says the time in µs since
    1970, for a database that has no clock of its own.
    """
    now, columns = store.time() or ask(), handoffs.c
    oldest = select(columns.handler, func.min(columns.due_at)).where(columns.due_at <= now)
    first = select(outbox.c.packed).order_by(outbox.c.id).limit(1)
    with store.reading() as connection:
        due = {name: int(moment) for name, moment in connection.execute(oldest.group_by(columns.handler))}
        packed = connection.execute(first).scalar()
    if packed is not None:
        due[""] = min(record.received_at for record in unpack(packed))
    return {name: max(0.0, (now - moment) / MICROS) for name, moment in due.items()}
