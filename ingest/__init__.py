"""The Copernica webhook ingester: its flow, in order.

1. Copernica POSTs an event. `door` takes plain calls, `app` (aiohttp) all others, and both hand them to `intake`,
   which has `verify` check who signed it (`copernica.signature`, `copernica.keys`) and keeps it raw.
2. `buffer.Appender` gathers the calls that arrive while one write to Redis is under way and writes them as one
   stream entry, packed by `batch`. When Redis has confirmed it, each of those calls is answered 200; not before.
   While Redis is away (`breaker`), batches go to the disk instead (`spool`), and 200 is said when they
   are on it; `replay` sends them to Redis later. `risks` says what else could go wrong.
3. The first batch after a silence wakes a worker: one RQ job, by name. Lost wake-ups are made up for by a sweep.
4. `workers.drain` claims batches (`buffer.Backlog`), decodes each call (`copernica.events`), stores the group in
   one commit (`workers.store`: SQLite or PostgreSQL), and only then acknowledges it. Killed at any line, the next
   drain does it again, and the delivery id keeps each event single.
5. What is new is put into an outbox in that same commit. `workers.handling` hands it to the users' functions
   (`workers.handlers`) and to existing scripts (`workers.forward`), at their pace, from tables that
   `workers.handoff` keeps; what they cannot take after several attempts are dead letters (`workers.failed`).
6. What was missed while the endpoint was away is in Copernica's daily log files: `workers.reconcile` fetches them
   (`copernica.rest`), reads them (`copernica.logfiles`), compares them with the store (`workers.matching`) and
   inserts exactly what is missing (`workers.recovery`).
7. `workers.schema` keeps the tables' versions, `workers.daily` deletes what is too old, `workers.erase` a person.

The receiving side (this package) never imports the processing side (`workers`); the command line knows both.
"""

from ingest.copernica.events import Event, EventType

__version__ = "0.1.0"
__all__ = ["Event", "EventType", "__version__"]
