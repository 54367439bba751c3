"""Does once what workers do with a database, in transactions that are rolled back: for `ingest check`."""

import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial

from sqlalchemy import Connection, Table, false, select

from ingest.batch import DELIVERY_ID_SIZE
from ingest.copernica.events import MICROS, decode
from ingest.errors import IngestError
from ingest.health import Risk, RiskCode
from workers.store import console_tables, tables
from workers.store.database import Database
from workers.store.rows import event_of, event_row

#: Events that are stored at a time: one, and enough to be stored in the way that many are.
FEW, MANY = 1, 200
#: A call with characters that a database of a lesser encoding lacks.
CALL = "type=open&recipient=zoë@example.nl&useragent=✉ 💌&fields[naam]=Zoë&tags[]=日本"


def faults(database: Database) -> Iterator[Risk]:
    """What does not work, each once."""
    trials: list[Callable[[Connection], str | None]] = [
        partial(_store, database, FEW),
        partial(_store, database, MANY),
        *(
            partial(_change, table)
            for table in console_tables.metadata.sorted_tables
            if table is not tables.events
        ),
    ]
    said: set[str] = set()
    for trial in trials:
        code = RiskCode.DATABASE_CHANGES
        try:
            fault = _undone(database, trial)
        except IngestError as error:
            code, fault = RiskCode.DATABASE_REFUSES, str(error)
        if fault and fault not in said:
            said.add(fault)
            yield Risk(code, fault)


class _Undo(Exception):
    """Rolls a transaction back, and says what was found until then."""

    def __init__(self, found: str | None) -> None:
        super().__init__(found)
        self.found = found


def _undone(database: Database, trial: Callable[[Connection], str | None]) -> str | None:
    try:
        with database.writing() as connection:
            raise _Undo(trial(connection))
    except _Undo as undo:
        return undo.found


def _store(database: Database, number: int, connection: Connection) -> str | None:
    """Store events and read one of them again."""
    now = time.time_ns() // 1000
    seconds = (now // MICROS).to_bytes(4, "big")
    ids = [seconds + secrets.token_bytes(DELIVERY_ID_SIZE - len(seconds)) for _ in range(number)]
    events = [decode(CALL.encode(), "", "/copernica", now, delivery_id) for delivery_id in ids]
    database.insert(connection, tables.events, [event_row(event) for event in events])
    query = select(tables.events).where(tables.events.c.delivery_id == ids[-1])
    found = connection.execute(query).one_or_none()
    if found is None or event_of(found) != events[-1]:
        return f"The database {database.shown} gives back something else than was stored in it."
    return None


def _change(table: Table, connection: Connection) -> None:
    """Do to a table whatever workers do, without a row."""
    key = next(iter(table.primary_key))
    nothing = select(*table.columns).where(false())
    connection.execute(table.insert().from_select([column.name for column in table.columns], nothing))
    connection.execute(table.update().where(false()).values({key: key}))
    connection.execute(table.delete().where(false()))
