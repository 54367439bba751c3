"""The Copernica webhook ingester: its flow, in order.

1. Copernica POSTs an event. `ingest.endpoint.fast_path` takes plain calls, `ingest.endpoint.app` (aiohttp) all
   others. Both pass them to `ingest.endpoint.intake`: it has `ingest.verification` check the signature
   (`ingest.copernica.signature`, `ingest.copernica.public_keys`), keeps the call raw, and answers it.
2. `ingest.stream.producer` gathers the calls that arrive while writes to Redis are under way, and writes them
   as one stream entry, packed by `ingest.batch`. When Redis has confirmed it, each of those calls is answered
   200; not before. While Redis is unavailable (`ingest.stream.breaker`), batches go to disk instead
   (`ingest.spool`), and 200 is sent when they are on it; `ingest.endpoint.spool_replay` sends them to Redis
   later. `ingest.health` names what else could go wrong.
3. The first batch after a silence wakes a worker: one RQ job, enqueued by name (`ingest.jobs`, `workers.jobs`).
   A sweep makes up for lost wake-ups.
4. `workers.drain` claims batches (`ingest.stream.consumer`), decodes each call (`ingest.copernica.events`),
   stores the group in one commit (`workers.store`: an SQL database), and only then acknowledges it. If it
   is killed at any line, the next drain does the work again, and the delivery id ensures that each event is
   stored once.
5. New events are put into an outbox in that same commit. `workers.handlers.jobs` passes them to the users'
   functions (`workers.handlers.registry`) and to existing scripts (`workers.handlers.forward`), at their pace,
   from tables that `workers.handlers.work_queue` keeps. What fails its last attempt becomes a dead letter
   (`workers.handlers.dead_letters`).
6. What was missed while the endpoint was down is in Copernica's daily log files: `workers.reconcile` fetches
   them (`ingest.copernica.api`), reads them (`ingest.copernica.logfiles`), compares them with the store and
   inserts exactly what is missing.
7. `workers.store.schema` keeps the tables' versions; `workers.operations` holds what operators ask for.

The receiving side (this package) never imports the processing side (`workers`); the command line knows both.
"""

from typing import TYPE_CHECKING

__version__ = "0.2.0"
__all__ = ["Event", "EventType", "__version__"]

if TYPE_CHECKING:
    from ingest.copernica.events import Event, EventType
else:

    def __getattr__(name: str) -> object:
        """`Event` and `EventType`, imported when somebody asks: `ingest --help` need not wait for them."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from ingest.copernica import events  # noqa: PLC0415

        return getattr(events, name)
