"""Forgetting calls that wait for handlers or were given up by them: of a person, or because they are too old."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from ingest.batch import Record, pack, unpack
from workers.person import BLANK
from workers.store.store import Store
from workers.store.tables import dead_letters, handoffs, outbox

#: Rows, each of up to some hundred calls, that are looked through in one transaction: workers wait that long.
PORTION = 64


def forget(
    store: Store,
    unwanted: Callable[[Record], bool],
    dry_run: bool = False,
    mentions: Callable[[str], bool] = lambda _text: False,
) -> int:
    """Delete the calls that are `unwanted`, whichever handler they are for; returns how many, or would be.

    What others failed with is blanked where it `mentions` what is not wanted: they may have been in one batch.
    """
    forgotten = 0
    for table in (outbox, handoffs, dead_letters):
        for keys in store.keys(table, PORTION):
            with store.writing() as connection:
                store.overwrite(connection)
                for key in keys:
                    forgotten += _forget_in_row(connection, table, key, unwanted, dry_run)
                    if table is not outbox and not dry_run:
                        _blank_errors(connection, table, key, mentions)
    return forgotten


def _forget_in_row(
    connection: Connection, table: Table, key: Sequence[Any], unwanted: Callable[[Record], bool], dry_run: bool
) -> int:
    this_row = [column == value for column, value in zip(table.primary_key, key, strict=True)]
    row = connection.execute(select(table).where(*this_row).with_for_update()).mappings().one_or_none()
    if row is None:  # done in the meantime
        return 0
    records = unpack(row["packed"])
    kept = [record for record in records if not unwanted(record)]
    if len(kept) < len(records) and not dry_run:
        connection.execute(table.delete().where(*this_row))
        if kept:  # then the table has a `count`: a dead letter is always a single call
            # Under another id: a worker that has claimed the row must not put back what it has in its memory.
            rest = {**row, "packed": pack(kept), "count": len(kept)}
            del rest["id"]
            if "leased_until" in rest:  # its error may be about what is forgotten
                rest |= {"leased_until": 0, "slots": 0, "error": None}
            connection.execute(table.insert().values(rest))
    return len(records) - len(kept)


def _blank_errors(
    connection: Connection, table: Table, key: Sequence[Any], mentions: Callable[[str], bool]
) -> None:
    this_row = [column == value for column, value in zip(table.primary_key, key, strict=True)]
    texts = [table.c[name] for name in ("error", "traceback") if name in table.c]
    row = connection.execute(select(*texts).where(*this_row)).one_or_none()
    if row is not None and any(mentions(text) for text in row if text):
        connection.execute(table.update().where(*this_row).values({text.name: BLANK for text in texts}))
