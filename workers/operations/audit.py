"""Who did what: each action of people's is written down before it is done, and again when it has ended."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from ingest.copernica.events import MICROS
from ingest.errors import IngestError, Unavailable
from ingest.shown import without_secrets
from workers.store.console_tables import audit
from workers.store.rows import json_text, load
from workers.store.store import Store

log = logging.getLogger(__name__)

#: The ways by which people act.
CONSOLE, COMMAND = "console", "command"
_COLUMNS = audit.c


@dataclass(frozen=True, slots=True)
class Entry:
    """One action. Times are µs since 1970."""

    number: int
    began_at: int
    #: None while it is under way, and for good if what did it was killed.
    ended_at: int | None
    who: str
    via: str
    action: str
    what: Mapping[str, Any]
    #: How many events, calls or rows; None where there is nothing to count.
    affected: int | None
    #: Why it failed; None if it did not.
    error: str | None


def noted(
    store: Store, who: str, via: str, action: str, what: Mapping[str, object], do: Callable[[], int | None]
) -> int | None:
    """Do something, and write down that it was done; returns how many it affected, as `do` does.

    Where the database is away, what is to be written goes to the log instead: whoever must pause a handler at
    night can do so.

    Raises:
        IngestError: as `do` does; that is written down, too.
    """
    number = _begin(store, who, via, action, what)
    try:
        affected = do()
    except BaseException as error:
        why = str(error) if isinstance(error, IngestError) else type(error).__name__
        _end(store, number, None, without_secrets(why))
        raise
    _end(store, number, affected, None)
    return affected


def _begin(store: Store, who: str, via: str, action: str, what: Mapping[str, object]) -> int | None:
    log.info("%s (%s): %s %s", who, via, action, dict(what), extra={"event": "audit"})
    row = {"began_at": _now(), "who": who, "via": via, "action": action, "what": json_text(what)}
    try:
        with store.writing() as connection:
            number: int = connection.execute(audit.insert().values(row).returning(_COLUMNS.number)).scalar_one()
    except Unavailable as error:
        log.warning("this is not in the audit: %s", error)
        return None
    return number


def _end(store: Store, number: int | None, affected: int | None, error: str | None) -> None:
    if number is None:
        return
    changed = update(audit).where(_COLUMNS.number == number)
    try:
        with store.writing() as connection:
            connection.execute(changed.values(ended_at=_now(), affected=affected, error=error))
    except Unavailable as unavailable:
        log.warning("how this ended is not in the audit: %s", unavailable)


def entries(store: Store, limit: int, before: int | None = None) -> list[Entry]:
    """The last actions, the newest first; those `before` a number, to go on."""
    query = select(audit).order_by(_COLUMNS.number.desc()).limit(limit)
    if before is not None:
        query = query.where(_COLUMNS.number < before)
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return [Entry(**(row._asdict() | {"what": load(row.what)})) for row in rows]


def _now() -> int:
    return time.time_ns() * MICROS // 1_000_000_000
