"""From the stream into the store."""

from workers.jobs import (
    drain as drain_job,
)  # the name under which version 0.1 enqueued it; see workers.legacy_jobs

__all__ = ["drain_job"]
