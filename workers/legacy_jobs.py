"""The names under which version 0.1 enqueued jobs; what it left on a queue is still worked off.

Endpoints of version 0.1 go on using these names until they are upgraded as well. RQ finds a job's function by its
dotted name: for `workers.unverified.verify_job` it first tries to import the module `workers.unverified`, and when
there is none, it takes the attribute `unverified` of `workers`, and `verify_job` of that. So `workers` has an
attribute for each module that is gone, which any RQ worker finds, `rq worker` as well as `ingest worker`.
`workers.drain` is a package now and has its `drain_job` itself.

May be removed in version 0.4, when no job and no endpoint of version 0.1 can be left.
"""

from types import SimpleNamespace

from workers import jobs

unverified = SimpleNamespace(verify_job=jobs.verify)
daily = SimpleNamespace(daily_job=jobs.retention)
reconcile_job = SimpleNamespace(reconcile_job=jobs.reconcile)
handling = SimpleNamespace(hand_on_job=jobs.hand_on, handle_job=jobs.handle)
