"""Whether the database and Redis still belong together, and whether one of them is older than it was.

Each keeps a mark of the other. Every half minute a worker raises the number of both, first in the database. So

    the number in Redis is higher       the database was restored from a backup: what it had stored since is gone
    that in the database is, by two     Redis was restored, or a replica took over that lagged far behind
    Redis has none, or is another       it was emptied or replaced: what waited in it is gone
    Redis names another database        one of the two was exchanged by mistake, or the events are another's
    the number in Redis is higher soon  a copy of the database takes turns with it: each has some of the events,
    again                               of which an operator is told

All but the fourth make a gap, which is filled like any other; numbers do not depend on any clock. The fourth is
refused: nothing is taken out of that Redis until somebody says that it is meant (`ingest db adopt`).
"""

import json
import logging
import secrets
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import NamedTuple, Self, cast

import redis
from sqlalchemy import Connection, select

from ingest.copernica.events import MICROS
from ingest.errors import OtherDatabase
from ingest.jobs import JobScheduler
from ingest.settings import Settings, private_redis
from ingest.stream.clock import redis_time
from ingest.stream.consumer import Consumer
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.keys import Keys
from ingest.stream.owner import DATABASE
from ingest.stream.partitions import Partitions
from workers.gaps.gap import TURNS, Cause, Cut, State
from workers.runtime import unless_refused
from workers.store import tables
from workers.store.store import Store

log = logging.getLogger(__name__)

#: µs for which what came in may not be in the database although nothing waits: what a spool was just sending on.
UNSURE = 60 * MICROS
#: µs after which a mark that another Redis made in this database is no sign any more that it is used at this time.
AT_ONCE = 600 * MICROS
#: What to say of it.
CLASH = "Two installations use this database, or a copy of it with the same Redis: stop one of them."
#: The names of the rows of `marks`.
NAME, SHARED = "database", "shared"


@dataclass(frozen=True, slots=True)
class Mark:
    """What the database keeps: the last mark that it made together with a Redis. Times are µs since 1970."""

    number: int
    at: int
    #: Everything that came in before this time was stored.
    through: int
    #: Which Redis that was, and which one before it.
    server: str
    before: str = ""
    #: When two of them were last seen to be used in turns: 0 if never.
    clashed_at: int = 0
    #: When the database was last found to be older than it was: 0 if never.
    older_at: int = 0

    @classmethod
    def of(cls, text: str | None) -> Self | None:
        """Read it; None if there is none."""
        if text is None:
            return None
        known = {field.name for field in fields(cls)}  # a later release may say more
        return cls(**{name: each for name, each in json.loads(text).items() if name in known})


@dataclass(frozen=True, slots=True)
class Opposite:
    """What Redis keeps: the name of its database, its own, and the number of the last mark."""

    database: str | None = None
    server: str | None = None
    number: int = 0

    @classmethod
    def read(cls, client: redis.Redis) -> Self:
        """Ask for it.

        Raises:
            redis.RedisError: Redis failed.
        """
        found = cast(list[bytes | None], client.hmget(Keys().mark, [DATABASE, "redis", "number"]))
        database, name, number = (None if each is None else each.decode("ascii", "replace") for each in found)
        return cls(database, name, int(number) if number is not None and number.isdecimal() else 0)


class Belonging(NamedTuple):
    """What a database says of itself."""

    #: What it is called, and each backup of it; None if somebody deleted that.
    name: str | None
    #: Unix time in seconds at which two installations were last seen to use it; None if never.
    clashed_at: float | None


def opened(settings: Settings, client: redis.Redis) -> Store:
    """The database, if what is in this Redis is for it.

    The private server of a data folder is nobody else's, so it takes any.

    Raises:
        OtherDatabase: it is for another one.
        Unavailable: the database cannot be used now.
        redis.RedisError: Redis failed.
    """
    store = Store.of(settings)
    try:
        try:
            claim(store, client)
        except OtherDatabase:
            if not _is_private(settings):
                raise
            log.warning("the database is another than before, and takes what is in the private Redis")
            adopt(store, client)
    except BaseException:
        store.close()
        raise
    return store


def claim(store: Store, client: redis.Redis) -> None:
    """Make this Redis that of this database, unless it is another's already.

    Raises:
        OtherDatabase: it is.
        Unavailable, redis.RedisError: the database or Redis failed.
    """
    found = Opposite.read(client).database
    name = name_of(store) or _name(store, found)
    if found is None:
        with unless_refused():  # a full Redis takes nothing, and whoever drains it makes room
            client.hsetnx(Keys().mark, DATABASE, name)  # of two at once the first counts: it is read again
        found = Opposite.read(client).database
    if found not in (None, name):
        raise OtherDatabase(
            f"What is in this Redis is for another database than {store.shown}, so nothing of it is stored here: "
            "set REDIS_URL or DATABASE_URL right, or type `ingest db adopt` if this one takes the other's place."
        )


def _is_private(settings: Settings) -> bool:
    return settings.redis == private_redis(settings.data_dir)


def name_of(store: Store) -> str | None:
    """What a database is called, and each backup of it; None if somebody deleted that."""
    with store.reading() as connection:
        return value(connection, NAME)


def look(store: Store) -> Belonging:
    """What a database says of itself, in one question."""
    query = select(tables.marks.c.name, tables.marks.c.value).where(tables.marks.c.name.in_((NAME, SHARED)))
    with store.reading() as connection:
        found = {row.name: row.value for row in connection.execute(query)}
    mark = Mark.of(found.get(SHARED))
    return Belonging(found.get(NAME), mark.clashed_at / MICROS if mark is not None and mark.clashed_at else None)


def _name(store: Store, name: str | None) -> str:
    """Give a database the name that Redis knows, or a new one: somebody emptied its tables."""
    with store.writing() as connection:
        store.take_turns(connection, TURNS)
        known = value(connection, NAME)
        if known is None:
            known = name or secrets.token_hex(8)
            put(store, connection, NAME, known)
    return known


def adopt(store: Store, client: redis.Redis) -> bool:
    """Have this database take what is in this Redis from now on; whether it was another's.

    Raises:
        Unavailable, redis.RedisError: the database or Redis failed.
    """
    name = name_of(store) or _name(store, None)
    was = Opposite.read(client).database
    if was == name:  # a new mark would say that this Redis is another than before
        return False
    client.hset(Keys().mark, mapping={DATABASE: name, "redis": secrets.token_hex(8), "number": 0})
    return was not in (None, name)


def compare(store: Store, client: redis.Redis, partitions: Partitions | None = None) -> Mark | None:
    """Compare both marks, note a gap if one side is older than it was, and make the next; None if refused.

    Of several stream servers (`partitions`), that of the queues is compared; see `workers.gaps.stream_marks`.

    Killed in between, it leaves Redis one behind, which means nothing.

    Raises:
        Unavailable, redis.RedisError: the database or Redis failed.
    """
    try:
        claim(store, client)
    except OtherDatabase as error:
        log.error("%s", error, extra={"event": "other-database"})
        return None
    if not _has_a_name(client):
        return None
    now = redis_time(client)
    through = _stored_through(client, partitions or Partitions.alone(client), now)
    with store.writing() as connection:
        store.take_turns(connection, TURNS)
        theirs = Opposite.read(client)
        ours = Mark.of(value(connection, SHARED))
        clashes = ours is not None and _clash(ours, theirs, now)
        cause = None if ours is None or clashes else _older(ours, theirs)
        copied = ours is not None and cause is Cause.STORE_OLDER and now - ours.older_at < AT_ONCE
        if ours is not None and cause is not None:
            gap = Cut(min(ours.through, now - 1), cause, now, State.ENDED, now)
            note(store, connection, gap, "the database" if cause is Cause.STORE_OLDER else "Redis")
        through = through if through is not None or ours is None else ours.through
        mark = raised(ours, theirs.server or secrets.token_hex(8), theirs.number, now, through)
        if cause is Cause.STORE_OLDER:
            mark = replace(mark, older_at=now)
        if clashes or copied:
            log.error("%s", CLASH, extra={"event": "two-installations"})
            mark = replace(mark, clashed_at=now)
        put(store, connection, SHARED, json.dumps(asdict(mark)))
    told = {"redis": mark.server, "number": mark.number}
    with unless_refused():
        client.hset(Keys().mark, mapping=told)  # type: ignore[arg-type]  # its stub knows no dict of both
        if cause is Cause.STORE_OLDER and not copied:  # what was done today may be undone
            JobScheduler(client).do_daily_again(datetime.fromtimestamp(now / MICROS, UTC).date().isoformat())
    return mark


def _clash(ours: Mark, theirs: Opposite, now: int) -> bool:
    """Whether two installations, each with a Redis of its own, use this database in turns."""
    return theirs.server == ours.before != ours.server and now - ours.at < AT_ONCE


def _older(ours: Mark, theirs: Opposite) -> Cause | None:
    """Which side is older than it was, by numbers alone."""
    if theirs.server != ours.server:
        return Cause.REDIS_OLDER
    if theirs.number > ours.number:
        return Cause.STORE_OLDER
    return Cause.REDIS_OLDER if theirs.number < ours.number - 1 else None


def _has_a_name(client: redis.Redis) -> bool:
    """Give a Redis a name that has none; False if it takes none, being full: then there is nothing to compare."""
    if Opposite.read(client).server is None:
        with unless_refused():
            client.hsetnx(Keys().mark, "redis", secrets.token_hex(8))
        return Opposite.read(client).server is not None
    return True


def raised(ours: Mark | None, server: str, number: int, now: int, through: int | None) -> Mark:
    """The mark after `ours`, with a server that has this name and this number.

    Never two ahead of it: what a full one does not take is offered again, and does not make it seem older.
    """
    ahead = ours is not None and ours.server == server and ours.number == number + 1
    number = number + 1 if ahead else max(ours.number if ours else 0, number) + 1
    before = "" if ours is None else ours.before if ours.server == server else ours.server
    clashed_at, older_at = (0, 0) if ours is None else (ours.clashed_at, ours.older_at)
    return Mark(number, now, min(through or now, now), server, before, clashed_at, older_at)


def _stored_through(client: redis.Redis, partitions: Partitions, now: int) -> int | None:
    """The time before which everything that came in is in the database; None while some may be out of sight.

    That is what lies in a spool, or on a stream server that does not answer.
    """
    reports = Heartbeats(client).reports().endpoints.values()
    if any(report.spool is not None and report.spool.events for report in reports):
        return None
    ages = partitions.each(Consumer.oldest_age)
    if len(ages) < len(partitions):
        return None
    waited = max(age or 0.0 for age in ages.values())
    return now - UNSURE - int(waited * MICROS)


def note(store: Store, connection: Connection, gap: Cut, which: str) -> None:
    """Note the gap that something older than it was has left, within a transaction; `which` is what it is."""
    gap.put(store, connection)
    log.warning(
        "%s is older than it was: calls of the last %.0f s may be missing, see `ingest gaps`",
        which,
        ((gap.until or gap.since) - gap.since) / MICROS,
        extra={"event": "restored"},
    )


# --- the table ---


def value(connection: Connection, name: str) -> str | None:
    """What a mark says; None if there is none of that name."""
    return connection.execute(select(tables.marks.c.value).where(tables.marks.c.name == name)).scalar()


def put(store: Store, connection: Connection, name: str, text: str) -> None:
    """Write a mark in place of the one of that name, within a transaction."""
    remove(connection, name)
    store.insert(connection, tables.marks, [(name, text)])


def remove(connection: Connection, name: str) -> None:
    """Delete the mark of that name, within a transaction."""
    connection.execute(tables.marks.delete().where(tables.marks.c.name == name))
