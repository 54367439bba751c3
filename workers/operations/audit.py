"""Who did what: each action of people's is written down before it is done, and again when it has ended.

No address of a recipient is kept in it, whatever was typed: what is erased there must not lie here, and who had
somebody erased can be answered by the time alone.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import false, or_, select, update

from ingest.copernica.events import DAY, MICROS
from ingest.errors import IngestError
from ingest.shown import without_secrets
from workers.store.backend import new_key
from workers.store.console_tables import audit
from workers.store.rows import json_text, load
from workers.store.store import Store

log = logging.getLogger(__name__)

#: The ways by which people act.
CONSOLE, COMMAND = "console", "command"
#: What lines of the log about it are called.
EVENT = {"event": "audit"}
#: Days for which an action is kept: as long as gaps are, and who looks back at a year finds all of it.
KEPT_DAYS = 400
#: What an erasure is called.
ERASE = "erase"
#: Characters of a text that are kept: an error may quote a whole answer.
LONGEST = 1000
#: What is in no address, so that one ends there.
BETWEEN = " \t\r\n<>()[]{}\"',;:=&?/\\|"
#: Stands for what is not kept.
ADDRESS, PERSON = "(an address)", "(a person)"
#: What says about whom something is, by its name.
ABOUT_PEOPLE = frozenset({"recipient", "address", "profile", "subprofile"})
#: What may be an address, in its plain form and as URLs have it.
_ADDRESS = re.compile(r"""[^\s<>()\[\]{}"',;:=&?/\\|]{0,320}(?:@|%40|\uff20)[\w.\-\[\]:%]*""")
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
    #: The address of a browser, or the name of the machine on which a command was typed.
    place: str
    action: str
    what: Mapping[str, Any]
    #: How many events, calls or rows; None where there is nothing to count.
    affected: int | None
    #: Why it failed; None if it did not.
    error: str | None

    @property
    def seconds(self) -> float | None:
        """How long it took; None if it has not ended."""
        return None if self.ended_at is None else (self.ended_at - self.began_at) / MICROS


def noted(
    store: Store,
    who: str,
    via: str,
    action: str,
    what: Mapping[str, object],
    do: Callable[[], int | None],
    place: str = "",
) -> int | None:
    """Do something, and write down that it was done; returns how many it affected, as `do` does.

    What `do` adds to `what` is written down as well.

    Where the database is away, what is to be written goes to the log instead: whoever must pause a handler at
    night can do so.

    Raises:
        IngestError: as `do` does; that is written down, too.
    """
    number = begin(store, who, via, action, what, place)
    try:
        affected = do()
    except BaseException as error:
        end(store, number, None, why(error), what)
        raise
    end(store, number, affected, None, what)
    return affected


def why(error: BaseException) -> str:
    """What is written down of something that failed."""
    return str(error) if isinstance(error, IngestError) else type(error).__name__


def begin(
    store: Store, who: str, via: str, action: str, what: Mapping[str, object], place: str = ""
) -> int | None:
    """Write down that something begins; returns its number, None if it is in the log only."""
    kept = _kept(what)
    row = {"began_at": _now(), "who": _short(who), "via": via, "place": _short(place), "action": action}
    try:
        with store.writing() as connection:
            values = row | {"what": json_text(kept)}
            number = new_key(connection.execute(audit.insert().values(values)))
    except IngestError as error:
        log.warning(
            "%s (%s %s): %s %s; this is not in the audit: %s", who, via, place, action, kept, error, extra=EVENT
        )
        return None
    # Who has typed a command sees what it says, and need not be told of the audit as well.
    level = logging.DEBUG if via == COMMAND else logging.INFO
    log.log(level, "%s (%s %s): %s %s", who, via, place, action, kept, extra=EVENT)
    return number


def end(
    store: Store,
    number: int | None,
    affected: int | None,
    error: str | None,
    what: Mapping[str, object] | None = None,
) -> None:
    """Write down what came of it, and `what` it was, if more is known of that by now."""
    if number is None:
        return
    error = error and _without_people(without_secrets(error))
    more = {} if what is None else {"what": json_text(_kept(what))}
    changed = update(audit).where(_COLUMNS.number == number).values(more | {"affected": affected, "error": error})
    try:
        with store.writing() as connection:
            connection.execute(changed.values(ended_at=_now()))
    except IngestError as unavailable:
        log.warning("how this ended is not in the audit: %s", unavailable)


def entries(
    store: Store,
    limit: int,
    before: int | None = None,
    who: str | None = None,
    action: str | None = None,
    recipient: str | None = None,
) -> list[Entry]:
    """The last actions, the newest first; those `before` a number, to go on; those of somebody, or of one kind.

    With a `recipient`, those by which this person was erased.
    """
    query = select(audit).order_by(_COLUMNS.number.desc()).limit(limit)
    if recipient is not None:
        action = action or ERASE
        known = (f'"{person}"' for person in store.known_erased(recipient))
        query = query.where(or_(false(), *map(_COLUMNS.what.contains, known)))
    if before is not None:
        query = query.where(_COLUMNS.number < before)
    if who is not None:
        query = query.where(_COLUMNS.who == _short(who))
    if action is not None:
        query = query.where(_COLUMNS.action == action)
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return [Entry(**(row._asdict() | {"what": load(row.what)})) for row in rows]


def expire(store: Store, now: float) -> int:
    """Delete what is older than `KEPT_DAYS`; `now` in Unix seconds; returns how many."""
    oldest = (int(now) - KEPT_DAYS * DAY) * MICROS
    with store.writing() as connection:
        return connection.execute(audit.delete().where(_COLUMNS.began_at < oldest)).rowcount


def _kept(what: Mapping[str, object]) -> dict[str, object]:
    return {name: PERSON if name in ABOUT_PEOPLE and value else _plain(value) for name, value in what.items()}


def _plain(value: object) -> object:
    """A value as it is kept: JSON can hold it, it is short, and no address is in it."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return _kept({str(name): one for name, one in value.items()})
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in list(value)[:LONGEST]]
    return _without_people(value if isinstance(value, str) else str(value))


def _without_people(text: str) -> str:
    cut = text[: 4 * LONGEST]
    if cut != text:  # what stands last may be half an address, which nothing shows to be one
        cut = cut[: max(map(cut.rfind, BETWEEN)) + 1] + "…"
    return _short(_ADDRESS.sub(ADDRESS, cut))


def _short(text: str) -> str:
    text = text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _now() -> int:
    return time.time_ns() * MICROS // 1_000_000_000
