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

from ingest.errors import Unavailable
from workers.store.arrow import BYTES, LARGE, NAMES, NUMBERS, rows_at_once, typed
from workers.store.backend import Slice
from workers.store.rows import micros, stored_time
from workers.store.sqlite import SQLite

#: Bytes of an event from which on it is large: such come after all others of their type.
LARGE_EVENT = 64 * 1024
#: The driver goes by the values that it sees first, so a row comes first that has the right types everywhere.
_TEXT = "''"
_SAMPLES = dict.fromkeys(NUMBERS, "0") | dict.fromkeys(BYTES, "x'00'")
_FIRST = ", ".join(f'{_SAMPLES.get(name, _TEXT)} AS "{name}"' for name in NAMES)
_COLUMNS = ", ".join(f'"{name}"' for name in NAMES)
#: By the index, in which they are in order, those of one moment as they arrived: to sort those by a column would
#: hold all of them in memory.
_WHICH = "FROM events INDEXED BY events_occurred_at WHERE occurred_at >= ? AND occurred_at < ? AND type = ?"
_LARGEST = " + ".join(f"coalesce(octet_length({name}), 0)" for name in LARGE)
_ORDERED = f"SELECT {_COLUMNS} {_WHICH} AND {_LARGEST} BETWEEN ? + 1 AND ? ORDER BY occurred_at"


def read(backend: SQLite, engine: Engine, wanted: Slice) -> Iterator[tuple[str, Any]]:
    """Record batches of the events, type by type, in the order of their times, all of one moment.

    Raises:
        Unavailable: the file cannot be read now.
    """
    engine.dispose()
    name = quote(str(Path(backend.path or "").absolute()))
    day = [stored_time(micros(moment)) for moment in (wanted.begin, wanted.end)]
    try:
        with (
            closing(driver.connect(f"file:{name}?mode=ro")) as connection,
            closing(connection.cursor()) as cursor,
        ):
            for kind in wanted.types:
                cursor.execute(f"SELECT max({_LARGEST}) {_WHICH}", (*day, kind))
                (largest,) = cursor.fetchone() or (None,)
                if largest is None:
                    continue
                # Few are large; all others would be read as few at a time as those, for which there is memory.
                few = min(largest, LARGE_EVENT)
                for low, high in ((-1, few), (few, largest)):
                    if low < high:
                        for batch in _batches(cursor, rows_at_once(high), (*day, kind, low, high)):
                            yield kind, batch
    except adbc_driver_manager.Error as error:
        why = (str(error).strip().splitlines() or [""])[0].rstrip(". ")
        raise Unavailable(f"The database {backend.shown} cannot be read: {why}.") from error


def _batches(cursor: driver.Cursor, rows: int, parameters: Sequence[str | int]) -> Iterator[Any]:
    cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(rows)})
    cursor.execute(f"SELECT {_FIRST} UNION ALL SELECT * FROM ({_ORDERED})", parameters)
    with closing(cursor.fetch_record_batch()) as batches:
        for number, batch in enumerate(batches):
            yield typed(batch.slice(1 if number == 0 else 0).columns)
