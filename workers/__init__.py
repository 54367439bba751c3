"""The processing side: drain the pile into the store, and whatever is to happen with the events then.

Nothing in here is imported by the receiving side, which enqueues jobs by name: endpoint and workers can be
deployed, restarted and scaled apart.
"""

from workers.handlers.registry import GiveUp, TryLater, on

__all__ = ["GiveUp", "TryLater", "on"]
