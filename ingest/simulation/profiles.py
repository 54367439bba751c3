"""Profiles and subprofiles as Copernica has them: what events, and callers of the API, make of them.

All functions work within a transaction of a `Truth`. A profile belongs to a database; a subprofile to a collection
and to a profile, its owner.
"""

import sqlite3
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import orjson

Kind = Literal["profile", "subprofile"]
#: The columns of one, in the order of `Entity`.
COLUMNS = "kind, id, parent, owner, fields, interests, created, modified, removed"


class Entity(NamedTuple):
    """A profile or a subprofile; times are in Unix seconds."""

    kind: str
    id: int
    #: Its database or, of a subprofile, its collection.
    parent: int
    #: The profile that a subprofile belongs to.
    owner: int | None
    fields: dict[str, Any]
    interests: dict[str, Any]
    created: int
    modified: int
    removed: int | None


def happened(db: sqlite3.Connection, event: str, fields: Mapping[str, Any]) -> None:
    """A `profile-create`, `subprofile-delete` and so on happened; `fields` are those of its webhook."""
    kind, _, what = event.partition("-")
    number, second = int(fields[kind]), int(fields["time"])
    if what == "delete":
        remove(db, kind, number, second)
        return
    own = kind == "profile"
    parent, owner = int(fields["database" if own else "collection"]), None if own else int(fields["profile"])
    before = None if what == "create" else found(db, kind, number)
    values = _within(fields, "fields"), _within(fields, "interests")
    if before:
        change(db, kind, number, *values, second)
    else:
        save(db, Entity(kind, number, parent, owner, *values, second, second, None))


def entity(row: Any) -> Entity:
    """What a row of `COLUMNS` tells."""
    kind, number, parent, owner, fields, interests, *times = row
    return Entity(kind, number, parent, owner, orjson.loads(fields), orjson.loads(interests), *times)


def found(db: sqlite3.Connection, kind: str, number: int) -> Entity | None:
    """The one of that number, also if it has been removed."""
    query = f"SELECT {COLUMNS} FROM profiles WHERE kind = ? AND id = ?"  # noqa: S608
    row = db.execute(query, (kind, number)).fetchone()
    return entity(row) if row else None


def save(db: sqlite3.Connection, one: Entity) -> None:
    """As it is now."""
    texts = orjson.dumps(one.fields).decode(), orjson.dumps(one.interests).decode()
    db.execute("REPLACE INTO profiles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*one[:4], *texts, *one[6:]))


def create(
    db: sqlite3.Connection, kind: str, parent: int, owner: int | None, fields: dict[str, Any], second: int
) -> int:
    """A new one; gives its number."""
    query = "SELECT coalesce(max(id), 0) + 1 FROM profiles WHERE kind = ?"
    number = int(db.execute(query, (kind,)).fetchone()[0])
    save(db, Entity(kind, number, parent, owner, fields, {}, second, second, None))
    return number


def change(
    db: sqlite3.Connection,
    kind: str,
    number: int,
    fields: Mapping[str, Any],
    interests: Mapping[str, Any],
    second: int,
) -> None:
    """Some of its values are others now."""
    before = found(db, kind, number)
    if before:
        values = before.fields | dict(fields), before.interests | dict(interests)
        save(db, before._replace(fields=values[0], interests=values[1], modified=second, removed=None))


def remove(db: sqlite3.Connection, kind: str, number: int, second: int) -> None:
    """It is no longer there. That is remembered: removing it once more is an error."""
    db.execute("UPDATE profiles SET removed = ? WHERE kind = ? AND id = ?", (second, kind, number))
    if kind == "profile":
        db.execute("UPDATE profiles SET removed = ? WHERE kind = 'subprofile' AND owner = ?", (second, number))


def _within(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The values of a map in a body, which may be taken apart already: `fields[email]=x`."""
    inner = fields.get(name)
    if isinstance(inner, Mapping):
        return dict(inner)
    start = f"{name}["
    return {key[len(start) : -1]: value for key, value in fields.items() if key.startswith(start)}
