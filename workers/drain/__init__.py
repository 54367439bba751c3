"""From the stream into the store."""

# Version 0.1 enqueued it under this name: see `workers.legacy_jobs`.
from workers.jobs import drain as drain_job

__all__ = ["drain_job"]
