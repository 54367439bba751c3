"""Reads events of an SQLite file as Arrow's columns, by ADBC's driver.

The driver has an SQLite of its own. Locks on a file belong to the process, and the one SQLite would drop those of
the other when it closes the file: so no connection of ours may be open meanwhile (`read` closes the pool's).
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import adbc_driver_manager
import adbc_driver_sqlite.dbapi as driver
from sqlalchemy import Engine

from ingest.copernica.event_types import EventType
from ingest.errors import Unavailable
from workers.store.arrow import BYTES, LARGE, NAMES, NUMBERS, rows_at_once, typed
from workers.store.backend import Slice
from workers.store.rows import micros, stored_time
from workers.store.sqlite import SQLite

#: Bytes of an event from which on it is large: such come after all others.
LARGE_EVENT = 64 * 1024
#: The driver goes by the values that it sees first, so a row comes first that has the right types everywhere.
_TEXT = "''"
_SAMPLES = dict.fromkeys(NUMBERS, "0") | dict.fromkeys(BYTES, "x'00'")
_FIRST = ", ".join(f'{_SAMPLES.get(name, _TEXT)} AS "{name}"' for name in NAMES)
_COLUMNS = ", ".join(f'"{name}"' for name in NAMES)
_LARGEST = " + ".join(f"coalesce(octet_length({name}), 0)" for name in LARGE)


def read(backend: SQLite, engine: Engine, wanted: Slice) -> Iterator[Any]:
    """Record batches of the events in the order of their times, all of one moment; large ones come last.

    Raises:
        Unavailable: the file cannot be read now.
    """
    engine.dispose()
    name = quote(str(Path(backend.path or "").absolute()))
    types = ", ".join(f"'{EventType(kind)}'" for kind in wanted.types)
    # By the index, in which they are in order, those of one moment as they arrived: to sort those by a column
    # would hold all of them in memory.
    indexed = "FROM events INDEXED BY events_occurred_at"
    found = f"{indexed} WHERE occurred_at >= ? AND occurred_at < ? AND type IN ({types})"
    day = [stored_time(micros(moment)) for moment in (wanted.begin, wanted.end)]
    try:
        with (
            closing(driver.connect(f"file:{name}?mode=ro")) as connection,
            closing(connection.cursor()) as cursor,
        ):
            cursor.execute(f"SELECT max({_LARGEST}) {found}", day)
            largest = (cursor.fetchone() or (None,))[0] or 0
            if largest <= LARGE_EVENT:
                yield from _batches(cursor, rows_at_once(largest), found, day)
                return
            # Few are large; all others would be read as few at a time as those, for which there is memory.
            yield from _batches(cursor, rows_at_once(LARGE_EVENT), f"{found} AND {_LARGEST} <= {LARGE_EVENT}", day)
            yield from _batches(cursor, rows_at_once(largest), f"{found} AND {_LARGEST} > {LARGE_EVENT}", day)
    except adbc_driver_manager.Error as error:
        why = (str(error).strip().splitlines() or [""])[0].rstrip(". ")
        raise Unavailable(f"The database {backend.shown} cannot be read: {why}.") from error


def _batches(cursor: driver.Cursor, rows: int, found: str, day: Sequence[str]) -> Iterator[Any]:
    cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(rows)})
    ordered = f"SELECT {_COLUMNS} {found} ORDER BY occurred_at"
    cursor.execute(f"SELECT {_FIRST} UNION ALL SELECT * FROM ({ordered})", day)
    with closing(cursor.fetch_record_batch()) as batches:
        for number, batch in enumerate(batches):
            yield typed(batch.slice(1 if number == 0 else 0).columns)
