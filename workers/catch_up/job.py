"""Filling gaps by itself: a job that looks for gaps that are due, and fills them.

It shares the queue of the drains, so it gives them their turn, as the daily reconciliation does.
"""

import logging
from typing import TYPE_CHECKING

import redis
from sqlalchemy import select

from ingest import partitions, redis_client
from ingest.errors import IngestError, Interrupted
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from ingest.shown import counted
from workers import gaps
from workers.gaps import State
from workers.pausing import events_are_paused
from workers.runtime import unless_refused
from workers.store import tables
from workers.store.store import Store

if TYPE_CHECKING:
    from workers.catch_up.closing import Outcome

log = logging.getLogger(__name__)


def catch_up_job() -> int:
    """Fill the gaps that are due; an RQ job.

    Returns how many events were recovered. Outcomes:

    done      every gap that was due is closed, or will be tried again later
    killed    what was found until then is in the store; another job does the rest when the lease has ended
    failed    Copernica, Redis or the database did not answer: logged in one line, tried again later
    """
    settings = Settings.read()
    if not settings.catches_up or events_are_paused(settings):
        return 0
    try:
        return _catch_up(settings)
    except Interrupted as error:
        log.info("filling gaps was interrupted and will go on: %s", error)
    except (IngestError, redis.RedisError) as error:
        log.error("filling gaps stopped early and will be tried again later: %s", error)
    return 0


def _catch_up(settings: Settings) -> int:
    with Store.of(settings) as store:
        recovered = _fill(settings, store) if gaps.due(store) else 0
        waits = _any_waits(store)
    with redis_client.connect(settings.redis) as client, unless_refused():
        JobScheduler(client).note_gaps(waits)
    return recovered


def _fill(settings: Settings, store: Store) -> int:
    # Nearly all of these jobs find nothing to do, so they do not wait for what it takes to do it.
    from workers.catch_up.closing import fill_due  # noqa: PLC0415
    from workers.catch_up.look import Context  # noqa: PLC0415
    from workers.drain.turns import Turns  # noqa: PLC0415
    from workers.reconcile.daily import no_progress  # noqa: PLC0415

    recovered = 0
    with partitions.opened(settings) as streams:
        for outcome in fill_due(Context(settings, store, no_progress, Turns(streams).take)):
            recovered += outcome.look.recovered
            _log(outcome)
    return recovered


def _any_waits(store: Store) -> bool:
    """Whether there is a gap that is not filled, due or not."""
    waits = tables.gaps.c.state.in_([State.OPEN.value, State.ENDED.value, State.CATCHING_UP.value])
    with store.reading() as connection:
        return bool(connection.execute(select(select(tables.gaps).where(waits).exists())).scalar())


def _log(outcome: "Outcome") -> None:
    look = outcome.look
    level = logging.WARNING if outcome.open else logging.INFO
    log.log(
        level,
        "gap from %s to %s: %s fetched, %s in the store before, %s recovered, %s of unknown messages; %s",
        f"{outcome.since:%Y-%m-%d %H:%M:%S}",
        f"{outcome.until:%H:%M:%S} UTC",
        counted(look.fetched, "result"),
        f"{look.in_store:,}",
        counted(look.recovered, "event"),
        f"{look.unresolved:,}",
        f"not closed yet: {outcome.open}" if outcome.open else "closed",
        extra={"event": "gap-filled"},
    )
