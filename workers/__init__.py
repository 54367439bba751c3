"""The processing side: drain the backlog into the store, then call the handlers that want the events.

The receiving side never imports anything from here. It enqueues jobs by name (`workers.jobs`), so endpoints and
workers can be deployed, restarted and scaled separately.
"""

from workers.handlers.registry import GiveUp, TryLater, on
from workers.legacy_jobs import daily, handling, reconcile_job, unverified  # noqa: F401  # RQ looks them up here

__all__ = ["GiveUp", "TryLater", "on"]
