"""What was stored before pseudonyms were asked for gets them, too: `ingest db pseudonymise`.

It goes through one table after the other, some rows in each transaction, so everything else goes on meanwhile.
How far it is in the events is a mark of the database: ended at any line, it goes on from there. A row that has
nothing to hide any more is left alone, so it can be done again at any time.

Left out are calls that wait for their signer's key, whose signatures are over what they say, and handoffs that a
worker is working on.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Table, select

from ingest.batch import Record, pack, unpack
from ingest.copernica.events import MICROS
from ingest.errors import SettingsError
from ingest.settings import Settings
from workers.gaps import lineage
from workers.records import Quarantined
from workers.store import pseudonym_mark, tables
from workers.store.console_tables import handler_runs
from workers.store.pseudonymising import Pseudonymiser
from workers.store.rows import clean, event_of, event_row, micros
from workers.store.store import Store

#: Events that are looked at together, and rows of the other tables, whose calls may be large.
EVENTS, ROWS = 1000, 50
#: The row of `marks` with the delivery id up to which events have pseudonyms.
DONE = "pseudonymised-through"
#: How long to pause after a step, as a part of what it took: others want to store something.
PAUSE_PER_STEP = 0.25


@dataclass(slots=True)
class Changed:
    """How many rows got pseudonyms, or would; `busy` are handoffs that a worker was working on."""

    events: int = 0
    quarantined: int = 0
    handlers: int = 0
    busy: int = 0
    #: Calls that wait for their signer's key, as they came.
    unverified: int = 0

    def as_dict(self) -> dict[str, int]:
        """For `--json`."""
        return asdict(self)


def pseudonymiser_of(settings: Settings, store: Store) -> Pseudonymiser:
    """What the settings ask for.

    Raises:
        SettingsError: they ask for nothing.
    """
    if store.pseudonyms is None:
        raise SettingsError(
            "INGEST_PSEUDONYMISE is not set: name there what to pseudonymise (recipient,ip), and set "
            "INGEST_PSEUDONYM_KEY, as for the workers."
        )
    return Pseudonymiser(store.pseudonyms)


def pseudonymise(
    settings: Settings,
    store: Store,
    dry_run: bool,
    progress: Callable[[float], object] = lambda part: None,
    changed: Changed | None = None,
) -> Changed:
    """Put pseudonyms in the place of addresses in all that is stored; or count what that would change.

    `progress` is called with the part that is done, from 0 to 1. What is done is counted in `changed`, if given.

    Raises:
        SettingsError: the settings ask for no pseudonyms.
        OtherKey: those in the database are of another key.
        Unavailable: the database cannot be used now; run it again to go on.
    """
    changed, pseudonymiser = changed or Changed(), pseudonymiser_of(settings, store)
    if not dry_run:
        store.require_key()
    _events(store, pseudonymiser, dry_run, progress, changed)
    _quarantine(store, pseudonymiser, dry_run, changed)
    for table in (tables.outbox, tables.handoffs, tables.dead_letters, handler_runs):
        _of_handlers(store, table, pseudonymiser, dry_run, changed)
    changed.unverified = store.unverified()
    if not dry_run:
        store.scrub()
    return changed


def _events(
    store: Store,
    pseudonymiser: Pseudonymiser,
    dry_run: bool,
    progress: Callable[[float], object],
    changed: Changed,
) -> None:
    key = tables.events.c.delivery_id
    with store.reading() as connection:
        found = lineage.value(connection, DONE)
    # With other parts or another key there may be more to do in what was done.
    how = f"{pseudonymiser.pseudonyms.fingerprints[0]} {'+'.join(sorted(pseudonymiser.pseudonyms.parts))}"
    done_how, _, through = (found or "").rpartition(" ")
    after = bytes.fromhex(through) if done_how == how and not dry_run else b""
    whole, seen = max(1, store.stored()), 0
    while True:
        began = time.monotonic()
        with store.reading() as connection:
            rows = connection.execute(select(tables.events).where(key > after).order_by(key).limit(EVENTS)).all()
        if not rows:
            break
        plain = [event_row(event_of(row)) for row in rows]
        ids = [row[0] for row in plain if pseudonymiser.row(row) != row]
        changed.events += len(ids)
        after, seen = bytes(rows[-1].delivery_id), seen + len(rows)
        if not dry_run:
            store.erase((), ids, (), ())
            with store.writing() as connection:
                lineage.put(store, connection, DONE, f"{how} {after.hex()}")
            time.sleep((time.monotonic() - began) * PAUSE_PER_STEP)
        progress(min(1.0, seen / whole))
    if not dry_run:
        with store.writing() as connection:
            lineage.remove(connection, DONE)
    progress(1.0)


def _quarantine(store: Store, pseudonymiser: Pseudonymiser, dry_run: bool, changed: Changed) -> None:
    table = tables.quarantine
    for row in store.rows(table, portion=ROWS):
        content_type = row.content_type.encode()
        record = Record(row.delivery_id, micros(row.received_at), row.path.encode(), content_type, row.body)
        hidden = pseudonymiser.quarantined(Quarantined(record, row.reason))
        path, body = hidden.record.target.decode("utf-8", "replace"), hidden.record.body
        if (path, body, hidden.reason) == (row.path, row.body, row.reason):
            continue
        changed.quarantined += 1
        if not dry_run:
            values = {"path": clean(path), "body": body, "reason": clean(hidden.reason)}
            with store.writing() as connection:
                store.overwrite(connection)
                this = table.c.delivery_id == row.delivery_id
                connection.execute(table.update().where(this).values(values))


def _of_handlers(
    store: Store, table: Table, pseudonymiser: Pseudonymiser, dry_run: bool, changed: Changed
) -> None:
    for keys in store.keys(table, ROWS):
        with store.writing() as connection:
            store.overwrite(connection)
            for key in keys:
                _row_of_handlers(connection, table, key, pseudonymiser, dry_run, changed)


def _row_of_handlers(
    connection: Connection,
    table: Table,
    key: Sequence[Any],
    pseudonymiser: Pseudonymiser,
    dry_run: bool,
    changed: Changed,
) -> None:
    this_row = [column == value for column, value in zip(table.primary_key, key, strict=True)]
    row = connection.execute(select(table).where(*this_row).with_for_update()).mappings().one_or_none()
    if row is None:  # done in the meantime
        return
    if row.get("leased_until", 0) > time.time_ns() * MICROS // 1_000_000_000:
        changed.busy += 1
        return
    values = dict(_hidden_columns(row, pseudonymiser))
    if values:
        changed.handlers += 1
        if not dry_run:
            connection.execute(table.update().where(*this_row).values(values))


def _hidden_columns(row: Any, pseudonymiser: Pseudonymiser) -> Iterator[tuple[str, object]]:
    """The columns that change, as they are then."""
    if "packed" in row and pseudonymiser.pseudonyms.for_handlers:
        records = unpack(bytes(row["packed"]))
        hidden = [pseudonymiser.record(record) for record in records]
        if hidden != records:
            yield "packed", pack(hidden)
    for name in ("error", "traceback"):
        text = row.get(name)
        if text and (without := pseudonymiser.text(text)) != text:
            yield name, without


def stop(store: Store) -> bool:
    """Have addresses stored again from now on; what has pseudonyms keeps them. Whether there were any."""
    was = store.pseudonym_mark() is not None
    with store.writing() as connection:
        pseudonym_mark.remove(connection)
        lineage.remove(connection, DONE)
    return was
