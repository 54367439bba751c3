"""Which keys the pseudonyms in a database are of: nobody is to store addresses, or other pseudonyms, beside them.

The mark `pseudonyms` has the fingerprints of the keys, the present one first, and what is pseudonymised. It is
written by the first who stores an event with `INGEST_PSEUDONYMISE`. A new first key takes over where the present
one is among the keys that its worker has: that is a rotation, and workers without the new one are refused then.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Self

from sqlalchemy import Connection, select

from ingest.errors import OtherKey
from workers.store import tables
from workers.store.pseudonyms import Pseudonyms

#: The name of the row of `marks`.
NAME = "pseudonyms"
_STOP = "or have addresses stored again: ingest db pseudonymise --stop"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a database says of its pseudonyms."""

    keys: tuple[str, ...]
    parts: tuple[str, ...]

    @classmethod
    def read(cls, connection: Connection) -> Self | None:
        """The mark; None if the database has no pseudonyms."""
        table = tables.marks.c
        text = connection.execute(select(table.value).where(table.name == NAME)).scalar()
        if text is None:
            return None
        known = json.loads(text)
        return cls(tuple(known["keys"]), tuple(known["parts"]))

    def write(self, connection: Connection) -> None:
        """Put it in place of the one that is there."""
        remove(connection)
        connection.execute(tables.marks.insert(), {"name": NAME, "value": json.dumps(asdict(self))})


def remove(connection: Connection) -> None:
    """Have the database forget that it has pseudonyms: from now on addresses may be stored."""
    connection.execute(tables.marks.delete().where(tables.marks.c.name == NAME))


def following(mark: Mark | None, pseudonyms: Pseudonyms | None) -> Mark | None:
    """The mark once somebody stores events with these pseudonyms.

    Raises:
        OtherKey: they do not go with those that are stored.
    """
    if pseudonyms is None:
        if mark is None:
            return None
        raise OtherKey(
            "This database has pseudonyms: set INGEST_PSEUDONYMISE and INGEST_PSEUDONYM_KEY here as the other "
            f"workers have them, {_STOP}."
        )
    first, *_ = known = pseudonyms.fingerprints
    parts = tuple(sorted(pseudonyms.parts))
    if mark is None:
        return Mark((first,), parts)
    if missing := sorted(set(mark.parts) - pseudonyms.parts):
        raise OtherKey(
            f"INGEST_PSEUDONYMISE does not name {' and '.join(missing)} here, of which this database has "
            f"pseudonyms: set it as the other workers have it, {_STOP}."
        )
    if first in mark.keys[1:]:
        raise OtherKey(
            "The first key of INGEST_PSEUDONYM_KEY was replaced by another since: put the new one first, as on "
            "the other workers."
        )
    if mark.keys[0] not in known:
        raise OtherKey(
            "INGEST_PSEUDONYM_KEY is another one than that of the pseudonyms in this database: set it as the "
            "other workers have it, or, to replace it, name both, the new one first."
        )
    keys = mark.keys if first == mark.keys[0] else (first, *mark.keys)
    return replace(mark, keys=keys, parts=parts)
