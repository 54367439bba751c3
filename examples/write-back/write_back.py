"""Writes into a field of each profile when its recipient last clicked, over Copernica's REST API.

A handler may get an event twice, and events in any order: yesterday's may come after today's. So what is written
is a time, and only over an earlier one. Written twice it is the same, and whatever the order the latest stays.
"""

import os
from datetime import UTC, datetime
from functools import cache

from ingest import Event
from ingest.copernica.api import Copernica, RetryPolicy
from ingest.errors import RequestRejected, Unreachable
from ingest.settings import Settings
from workers import GiveUp, TryLater, on

#: The field of your database that gets the time of the last click, in UTC: a text or a date with a time.
FIELD = os.environ.get("WRITE_BACK_FIELD", "LastClick")
#: Hurried, because a handler that fails is called again: at most some 50 seconds for each profile.
POLICY = RetryPolicy(attempts=3, answer_timeout=15, max_retry_after=10)


@on("click", batch=50, concurrency=1, timeout=300, where=lambda event: event.profile)
async def write_back(events: list[Event]) -> None:
    """Takes up to 50 at once: one connection for all, and one change for each profile, however often it clicked.

    One at a time (`concurrency=1`): between reading a field and writing it, nobody else does.
    """
    last = {event.profile: event.occurred_at for event in sorted(events, key=lambda event: event.occurred_at)}
    try:
        async with client() as api:
            for profile, micros in last.items():
                at = datetime.fromtimestamp(micros // 1_000_000, UTC)
                await write(api, profile, at.strftime("%Y-%m-%d %H:%M:%S"))
    except Unreachable as error:
        raise TryLater(str(error)) from None  # all of them: it is not the fault of one
    except RequestRejected as error:
        raise GiveUp(str(error)) from None  # the database has no such field, say


async def write(api: Copernica, profile: int | None, at: str) -> None:
    """Write a time into a profile, unless it has a later one or is gone."""
    there = await api.get_if_there(f"/profile/{profile}")
    if there is not None and str((there.get("fields") or {}).get(FIELD) or "") < at:
        await api.put(f"/profile/{profile}/fields", {FIELD: at})


@cache
def client() -> Copernica:
    """One client for this process, which keeps the access that it gains. It is made when the first click comes."""
    return Copernica.with_settings(Settings.read(), POLICY)
