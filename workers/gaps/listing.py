"""The gaps as people and scripts see them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import redis
from sqlalchemy import func, or_, select, tuple_

from ingest import redis_client
from ingest.copernica.events import MICROS
from ingest.errors import Unavailable
from ingest.settings import Settings
from ingest.stream.coverage import Coverage
from workers.gaps.gap import Cut, State, cuts
from workers.gaps.looking import look
from workers.store import tables
from workers.store.store import Store

#: Raised by a release in which a field of the JSON is renamed, removed or means something else.
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Listing:
    """Gaps, and from when on they are known at all (µs since 1970); None: no endpoint has run yet."""

    known_since: int | None
    gaps: tuple[Cut, ...]
    #: Why what endpoints said last is not in it; None if it is.
    outdated: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What `ingest gaps --json` prints; docs/gaps.md describes it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "known_since": self.known_since and _moment(self.known_since),
            "outdated": self.outdated,
            "gaps": [_as_json(gap) for gap in self.gaps],
        }


def _moment(micros: int) -> str:
    return datetime.fromtimestamp(micros / MICROS, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _as_json(gap: Cut) -> dict[str, Any]:
    details = gap.details
    retry_at = details.get("retry_at")
    return {
        "since": _moment(gap.since),
        "until": gap.until and _moment(gap.until),
        "seconds": None if gap.until is None else (gap.until - gap.since) / MICROS,
        "cause": gap.cause.value,
        "state": gap.state.value,
        "changed_at": _moment(gap.changed_at),
        "calls": gap.calls or None,
        "ended": details.get("ended"),
        "attempts": int(details.get("attempts", 0)),
        "error": details.get("error"),
        "retry_at": retry_at and _moment(int(retry_at)),
        "by": details.get("by"),
    }


def listing(settings: Settings, since: datetime | None = None, unclosed: bool = False) -> Listing:
    """The gaps that end after a time, or only those that are not closed; what endpoints say is asked first.

    Raises:
        Unavailable: the database cannot be used now.
    """
    with Store.of(settings) as store:
        outdated = look_first(settings, store)
        with store.reading() as connection:
            known_since = connection.execute(select(func.min(tables.coverage.c.since))).scalar()
            columns = tables.gaps.c
            conditions = []
            if since is not None:
                conditions.append(or_(columns.until.is_(None), columns.until > int(since.timestamp() * MICROS)))
            if unclosed:
                conditions.append(columns.state != State.CLOSED.value)
            return Listing(known_since, tuple(cuts(connection, *conditions)), outdated)


class Page(NamedTuple):
    """Some gaps, the newest first; `older` is the key of the last of them if there are more."""

    known_since: int | None
    gaps: tuple[Cut, ...]
    older: tuple[int, str] | None


def page(store: Store, limit: int, before: tuple[int, str] | None = None, unclosed: bool = False) -> Page:
    """The last gaps that are in the table, or those before one (its key), for who shows some at a time.

    Raises:
        Unavailable: the database cannot be used now.
    """
    columns = tables.gaps.c
    query = select(columns.since, columns.cause).order_by(columns.since.desc(), columns.cause.desc())
    if before is not None:
        query = query.where(tuple_(columns.since, columns.cause) < before)
    if unclosed:
        query = query.where(columns.state != State.CLOSED.value)
    with store.reading() as connection:
        known_since = connection.execute(select(func.min(tables.coverage.c.since))).scalar()
        keys = [(since, cause) for since, cause in connection.execute(query.limit(limit + 1))]
        wanted = keys[:limit]
        found = cuts(connection, tuple_(columns.since, columns.cause).in_(wanted)) if wanted else []
    return Page(known_since, tuple(reversed(found)), wanted[-1] if len(keys) > limit else None)


def look_first(settings: Settings, store: Store) -> str | None:
    """Note what endpoints have said since a worker last did; returns why that cannot be, None if it was done."""
    try:
        with redis_client.connect(settings.redis) as client:
            redis_client.require(client, settings.redis)
            look(store, Coverage(client))
    except redis.RedisError as error:
        return str(redis_client.unavailable(settings.redis, error))
    except Unavailable as error:
        return str(error)
    return None


def explained(gap: Cut, at: Callable[[int], str]) -> Iterator[str]:
    """What else there is to say of a gap, in a few words each; `at` writes a time (µs since 1970)."""
    details = gap.details
    if ended := details.get("ended"):
        yield {"stopped": "it was stopped", "frozen": "it stood still"}.get(ended, "it ended without a word")
    if gap.calls:
        yield f"{gap.calls:,} calls" if gap.calls != 1 else "1 call"
    if gap.state is State.CLOSED and (by := details.get("by")):
        yield f"by {by}"
    if gap.state is State.ENDED and (retry_at := details.get("retry_at")):
        yield f"tried again at {at(int(retry_at))}"
    if error := details.get("error"):
        yield str(error)
