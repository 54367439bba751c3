"""What is going on: the figures of `ingest status`."""

from collections import Counter
from typing import Any

import redis
from redis import RedisError
from rq import Worker
from rq.serializers import JSONSerializer

from ingest import redis_client, spool
from ingest.errors import SchemaMissing, Unavailable
from ingest.settings import Settings
from ingest.stream.consumer import Consumer
from ingest.stream.heartbeats import Heartbeats
from workers.handlers.work_queue import WorkQueue
from workers.reconcile import history
from workers.store.store import Store

#: What Redis tells, and what the database does.
REDIS_FIGURES = (
    "backlog", "batches", "pending_batches", "oldest_age", "accepted", "doubles", "dead_batches", "accepted_rate",
    "drained_rate", "refused", "endpoints", "workers",
)  # fmt: skip
STORE_FIGURES = ("stored", "quarantined", "unverified", "handlers", "reconciled")


def gather(settings: Settings) -> dict[str, Any]:
    """Everything that `status` shows, ready for JSON. Ages are in seconds, rates in events per second.

    Where something cannot be reached, its figures are None and `troubles` says why.
    """
    figures: dict[str, Any] = {"troubles": []}
    for look in (_of_redis, _of_store):
        try:
            figures |= look(settings)
        except Unavailable as error:
            figures |= dict.fromkeys(REDIS_FIGURES if look is _of_redis else STORE_FIGURES)
            figures["troubles"].append(str(error))
    figures["spool"] = _of_spool(settings, figures["endpoints"] or [], figures["troubles"])
    figures["warnings"] = _warnings(figures)
    return figures


def _of_redis(settings: Settings) -> dict[str, Any]:
    client = redis_client.connect(settings.redis)
    try:
        redis_client.require(client, settings.redis)
        return _of_client(client)
    except RedisError as error:
        raise Unavailable(f"Redis at {redis_client.shown(settings.redis)} gave out: {error}.") from None
    finally:
        client.close()


def _of_client(client: redis.Redis) -> dict[str, Any]:
    backlog = Consumer(client)
    batches = backlog.batches()
    counts = backlog.counts()
    reports = Heartbeats(client).reports()
    endpoints = [{"name": name, **said} for name, said in sorted(reports.items()) if name.startswith("web:")]
    accepted, drained = counts.get("accepted", 0), counts.get("drained", 0)
    workers = Worker.all(connection=client, serializer=JSONSerializer)
    return {
        # The stream knows its batches; how many events those hold is counted beside it.
        "backlog": max(batches, accepted - drained) if batches else 0,
        "batches": batches,
        "pending_batches": backlog.pending(),
        "oldest_age": backlog.oldest_age(),
        "accepted": accepted,
        "doubles": counts.get("doubles", 0),
        "dead_batches": backlog.dead_batches(),
        "accepted_rate": round(sum(said["rate"] for said in endpoints), 1),
        "drained_rate": round(sum(r["rate"] for name, r in reports.items() if name.startswith("drain:")), 1),
        "refused": dict(sum((Counter(said["refused"]) for said in endpoints), Counter())),
        "endpoints": endpoints,
        "workers": [
            {"name": worker.name, "queues": worker.queue_names(), "state": str(worker.get_state())}
            for worker in workers
        ],
    }


def _of_spool(settings: Settings, endpoints: list[dict[str, Any]], troubles: list[str]) -> dict[str, Any]:
    """What endpoints say of their spools; where none says anything, what lies in the folder on this machine."""
    saying = [said for said in endpoints if "spooled" in said]
    if not saying and settings.spool_dir is not None:
        try:
            found = spool.look(settings.spool_dir)
        except Unavailable as error:
            troubles.append(str(error))
            return {}
        return {
            "events": found.events,
            "bytes": found.size,
            "oldest_age": found.oldest_age,
            "bad_records": found.bad,
            # They would report if they reached Redis.
            "endpoints_open": found.owners,
        }
    by_host = {said["name"].split(":")[1]: said["spool_bad"] for said in saying}  # one folder for all of a machine
    return {
        "events": sum(said["spooled"] for said in saying),
        "bytes": sum(said["spool_bytes"] for said in saying),
        "oldest_age": max(
            (said["spool_oldest"] for said in saying if said["spool_oldest"] is not None), default=None
        ),
        "bad_records": sum(by_host.values()),
        "endpoints_open": sum(said["breaker"] != "closed" for said in saying),
    }


def _of_store(settings: Settings) -> dict[str, Any]:
    try:
        store = Store.open(settings.database)
    except SchemaMissing:
        return {**dict.fromkeys(STORE_FIGURES, 0), "handlers": {}, "reconciled": None}
    try:
        return {
            "stored": store.stored(),
            "quarantined": store.quarantined(),
            "unverified": store.unverified(),
            "handlers": _of_handlers(WorkQueue(store)),
            "reconciled": _of_reconciliations(store),
        }
    finally:
        store.close()


def _of_reconciliations(store: Store) -> dict[str, Any] | None:
    """Through which day, and since which, everything is there; and days that were looked at and lack something."""
    through = history.complete_through(store)
    incomplete = history.incomplete(store)
    if through is None and not incomplete:
        return None
    return {
        "complete_through": through and through.day.isoformat(),
        "since": through and through.since.isoformat(),
        "incomplete": [day.isoformat() for day in incomplete],
    }


def _of_handlers(handoffs: WorkQueue) -> dict[str, dict[str, int]]:
    """What waits and what failed, by handler; an empty name is for what no worker has handed on yet."""
    waiting, failed = handoffs.waiting(), handoffs.failed()
    return {
        name: {"waiting": waiting.get(name, 0), "failed": failed.get(name, 0)}
        for name in sorted(waiting.keys() | failed.keys())
    }


def _warnings(figures: dict[str, Any]) -> list[str]:
    found = _spool_warnings(figures["spool"])
    if figures["backlog"] is not None:
        found += _redis_warnings(figures)
    if figures["stored"] is not None:
        found += _store_warnings(figures)
    return found


def _spool_warnings(figures: dict[str, Any]) -> list[str]:
    found = []
    if figures.get("endpoints_open"):
        found.append(f"{figures['endpoints_open']} endpoint processes get no answer from Redis, and spool.")
    if figures.get("events"):
        found.append(f"{figures['events']:,} events are in the spool, and reach Redis when it takes them.")
    if figures.get("bad_records"):
        found.append(f"{figures['bad_records']} stretches of the spool were damaged: see its *.bad files.")
    return found


def _redis_warnings(figures: dict[str, Any]) -> list[str]:
    found = []
    if any(endpoint["verify"] == "off" for endpoint in figures["endpoints"]):
        found.append("Signatures are not verified: whoever can reach the endpoint can add events.")
    if not figures["endpoints"] and not figures["spool"].get("endpoints_open"):
        found.append("No endpoint is running: Copernica's calls are not taken.")
    if not any("events" in worker["queues"] for worker in figures["workers"]):
        found.append("No worker is running on the queue `events`: the backlog only grows.")
    handled = any("handlers" in worker["queues"] for worker in figures["workers"])
    if figures["handlers"] and not handled:
        found.append("No worker is running on the queue `handlers`: nobody calls your handlers.")
    if figures["dead_batches"]:
        found.append(f"{figures['dead_batches']} batches were damaged and lie in the dead stream.")
    return found


def _store_warnings(figures: dict[str, Any]) -> list[str]:
    found = []
    if failed := sum(figure["failed"] for figure in figures["handlers"].values()):
        found.append(f"{failed} events could not be handled: see `ingest failed list`.")
    if figures["unverified"]:
        found.append(f"{figures['unverified']} calls wait to be verified: their key cannot be had from DNS.")
    if figures["reconciled"] and (days := figures["reconciled"]["incomplete"]):
        found.append(f"{len(days)} days may lack events, the last is {days[-1]}: `ingest reconcile` says why.")
    if figures["quarantined"]:
        found.append(f"{figures['quarantined']} calls could not be read and lie in the table `quarantine`.")
    return found
