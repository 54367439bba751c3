"""Many rows into MariaDB at once, of which some may be there already: the hot path of a drain.

`INSERT IGNORE` would skip a row that is there, and cut off what does not fit, without an error. So rows are
inserted without it. Nearly always all are new; if one is there already, the statement is undone, the keys are
looked up, and what is new is inserted. That needs no RETURNING, which MySQL lacks.

Statements are made here: the driver takes longer to write down each value by itself than the server to insert the
row. Texts have no NUL (see `workers.store.rows`), so a NUL stands for a quotation mark of ours until all marks
within texts are doubled; NULs are counted, so that no text can end before it ends.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import pymysql
from sqlalchemy import Table

from workers.store.backend import Row
from workers.store.mariadb_connection import Driver, code_of

#: Most rows and characters of one statement: more gain little, and the server keeps all of it in memory.
STATEMENT_ROWS, STATEMENT_CHARACTERS = 500, 512 * 1024
#: Times that a statement is tried, each without the rows that others have stored meanwhile, before row by row.
ATTEMPTS = 3
#: How many times keys are looked up before inserting once a row was there already: such rows come together.
LOOK_UPS = 100
#: The server's number for a key that is there already, and for a statement that is longer than it takes.
THERE, TOO_LONG = 1062, 1153
#: Bytes from which on a value is written as it is.
LARGE = 1024 * 1024
#: Bytes of a statement that are no rows, at most.
HEAD = 4096
#: Kinds of rows whose form is remembered: those of one drain fill the same columns.
FORMS = 256


class Form(NamedTuple):
    """How rows that fill the same columns are written down."""

    text: str
    #: Chooses the values that are not NULL, and where among them bytes are.
    values: Callable[[Row], tuple[Any, ...]]
    bytes_at: Sequence[int]
    #: How many quotation marks `text` has.
    marks: int


class Statements(NamedTuple):
    """What is asked of one table. Made of nothing but names in `workers.store.tables`."""

    insert: str
    find: str
    #: Chooses the key of a row.
    key: Callable[[Row], tuple[Any, ...]]


@lru_cache(maxsize=64)
def _statements(table: Table) -> Statements:
    names = [column.name for column in table.columns]
    keys = [column.name for column in table.primary_key.columns]
    places = [names.index(name) for name in keys]
    columns = ", ".join(f"`{name}`" for name in names)
    key = ", ".join(f"`{name}`" for name in keys)
    find = f"SELECT {key} FROM `{table.name}` WHERE {key if len(keys) == 1 else f'({key})'} IN ("
    insert = f"INSERT INTO `{table.name}` ({columns}) VALUES "
    return Statements(insert, find, itemgetter(slice(0, 1)) if places == [0] else itemgetter(*places))


@lru_cache(maxsize=FORMS)
def _form(types: tuple[type, ...]) -> Form:
    words = [_WORDS.get(kind, _TEXT) for kind in types]
    filled = [at for at, kind in enumerate(types) if kind is not type(None)]
    bytes_at = [place for place, at in enumerate(filled) if types[at] is bytes]
    text = f"({','.join(words)})"
    if len(filled) > 1:
        return Form(text, itemgetter(*filled), bytes_at, text.count("\0"))
    return Form(text, lambda row: tuple(row[at] for at in filled), bytes_at, text.count("\0"))


_TEXT = "\0%s\0"
_WORDS = {type(None): "NULL", int: "%s", bool: "%s", bytes: "x\0%s\0"}


def _written(row: Row) -> tuple[str, int, bool]:
    """A row with its quotation marks as NULs; how many those are; whether bytes are in it as they are."""
    form, choose, bytes_at, marks = _form(tuple(map(type, row)))
    values = choose(row)
    if bytes_at:
        made = list(values)
        for at in bytes_at:
            if len(made[at]) >= LARGE and b"\0" not in made[at]:
                return _with_large(row)
            made[at] = made[at].hex()
        values = tuple(made)
    return form % values, marks, False


def _with_large(row: Row) -> tuple[str, int, bool]:
    """The same of a row with as many bytes as a statement may have: in hexadecimal they would be twice as many."""
    words = []
    for value in row:
        if isinstance(value, bytes) and len(value) >= LARGE and b"\0" not in value:
            words.append(f"_binary\0{value.decode('ascii', 'surrogateescape')}\0")
        elif isinstance(value, bytes):
            words.append(f"x\0{value.hex()}\0")
        elif isinstance(value, str):
            value.encode()  # raises if it has surrogates of its own
            words.append(f"\0{value}\0")
        else:
            words.append("NULL" if value is None else str(int(value)))
    marks = 2 * sum(isinstance(value, bytes | str) for value in row)
    return f"({','.join(words)})", marks, True


def _quoted(text: str, marks: int) -> str:
    """The same with marks, those within texts doubled: so they end nothing, whatever the server's `sql_mode`."""
    if text.count("\0") != marks:
        raise pymysql.DataError(0, "there is a NUL in a text")
    return text.replace("\\", "\\\\").replace("'", "''").replace("\0", "'")


def _portions(driver: Driver, rows: Sequence[Row]) -> Iterator[tuple[bytes, Sequence[Row]]]:
    """Rows as parts of statements that the server takes, with what they say."""
    begin, characters, marks, raw = 0, 0, 0, False
    texts: list[str] = []
    for at, row in enumerate(rows):
        text, number, large = _written(row)
        if texts and (len(texts) >= STATEMENT_ROWS or characters + len(text) > STATEMENT_CHARACTERS):
            yield _encoded(driver, _quoted(",".join(texts), marks), raw), rows[begin:at]
            begin, characters, marks, raw, texts = at, 0, 0, False, []
        texts.append(text)
        characters += len(text)
        marks += number
        raw = raw or large
    if texts:
        yield _encoded(driver, _quoted(",".join(texts), marks), raw), rows[begin:]


def _encoded(driver: Driver, text: str, raw: bool) -> bytes:
    made = text.encode("utf-8", "surrogateescape" if raw else "strict")
    if len(made) + HEAD > driver.packet:  # the server would close the connection
        raise pymysql.DataError(TOO_LONG, f"it is larger than max_allowed_packet, {driver.packet:,} bytes")
    return made


class Inserter:
    """Inserts the rows of one process; remembers whether some were there already."""

    def __init__(self) -> None:
        #: How many more times keys are looked up first.
        self._look_ups = 0

    def insert_new(self, driver: Driver, table: Table, rows: Sequence[Row]) -> list[Any]:
        """Insert rows whose key is not there yet, within a transaction that has begun.

        Returns the first column of those that were new; it begins their key.
        """
        key = _statements(table).key
        first: dict[Any, Row] = {}
        for row in rows:
            first.setdefault(key(row), row)
        # In order, so that two drains with the same events wait for each other rather than deadlock.
        distinct = [first[one] for one in sorted(first)]
        return [
            row[0]
            for written, portion in _portions(driver, distinct)
            for row in self._insert(driver, table, written, portion)
        ]

    def _insert(self, driver: Driver, table: Table, written: bytes, rows: Sequence[Row]) -> Sequence[Row]:
        insert = _statements(table).insert.encode()
        for _ in range(ATTEMPTS):
            if self._look_ups:
                self._look_ups -= 1
                left = _not_there(driver, table, rows)
                if not left:
                    return left
                if len(left) < len(rows):
                    rows, written = left, b",".join(part for part, _ in _portions(driver, left))
            try:
                driver.query(insert + written)
            except pymysql.IntegrityError as error:
                if code_of(error) != THERE:
                    raise
                self._look_ups = LOOK_UPS
            else:
                return rows
        return [row for row in rows if _insert_one(driver, table, row)]


def _insert_one(driver: Driver, table: Table, row: Row) -> bool:
    """Whether it was not there yet; raises what the server says if another rule of its own refuses it."""
    ((written, _),) = _portions(driver, [row])
    try:
        driver.query(_statements(table).insert.encode() + written)
    except pymysql.IntegrityError as error:
        if code_of(error) != THERE or _not_there(driver, table, [row]):
            raise
        return False
    return True


def _not_there(driver: Driver, table: Table, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows whose key the table does not have, in order."""
    _, find, key = _statements(table)
    keys = [_written(key(row)) for row in rows]
    texts = [text[1:-1] if len(table.primary_key) == 1 else text for text, _, _ in keys]
    listed = _quoted(",".join(texts), sum(marks for _, marks, _ in keys))
    with driver.cursor() as cursor:
        cursor.execute(f"{find}{listed})")
        there = set(cursor.fetchall())
    return [row for row in rows if key(row) not in there]
