"""Waking the handlers' workers after somebody gave them something to do."""

import redis

from ingest.jobs import JobScheduler


def wake(client: redis.Redis) -> None:
    """Have the handlers' workers look what there is to do; without this, they do so with the next event."""
    scheduler = JobScheduler(client)
    scheduler.note_handoffs(True)
    scheduler.hand_on()
