"""The only jobs that our workers run: those of this program, by name.

A job in Redis names what is called, and whoever can write to Redis can put one there. So a name is looked up in a
table instead of being imported, data are read as JSON and nothing else, and what else a job may name (callbacks,
webhooks, an object whose method is called) makes it a foreign one. A foreign job is refused: it fails, with the
reason, and lies in RQ's registry of failed jobs.
"""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from rq.exceptions import NoSuchJobError

from ingest.jobs import (
    CATCH_UP_JOB,
    DAILY_JOB,
    DRAIN_JOB,
    EXPORT_JOB,
    FIND_GAPS_JOB,
    HAND_ON_JOB,
    HANDLE_JOB,
    MAILINGS_JOB,
    RECONCILE_JOB,
    VERIFY_JOB,
)
from workers import jobs
from workers.process.rq_compat import CompatJob

log = logging.getLogger(__name__)

#: What may be called, by the names under which it is enqueued, and was by earlier versions.
FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        DRAIN_JOB: jobs.drain,
        VERIFY_JOB: jobs.verify,
        DAILY_JOB: jobs.retention,
        RECONCILE_JOB: jobs.reconcile,
        EXPORT_JOB: jobs.export,
        FIND_GAPS_JOB: jobs.find_gaps,
        CATCH_UP_JOB: jobs.catch_up,
        MAILINGS_JOB: jobs.mailings,
        HAND_ON_JOB: jobs.hand_on,
        HANDLE_JOB: jobs.handle,
        # The names of 0.2.0.
        "workers.drain.drain.drain_job": jobs.drain,
        "workers.drain.late_verification.verify_job": jobs.verify,
        "workers.operations.retention.daily_job": jobs.retention,
        "workers.reconcile.daily.reconcile_job": jobs.reconcile,
        "workers.handlers.runner.hand_on_job": jobs.hand_on,
        "workers.handlers.runner.handle_job": jobs.handle,
        # Those of 0.1: see `workers.legacy_jobs`.
        "workers.drain.drain_job": jobs.drain,
        "workers.unverified.verify_job": jobs.verify,
        "workers.daily.daily_job": jobs.retention,
        "workers.reconcile_job.reconcile_job": jobs.reconcile,
        "workers.handling.hand_on_job": jobs.hand_on,
        "workers.handling.handle_job": jobs.handle,
    }
)
#: Fields of a job in Redis that name what is called besides its function, now or when it ends.
_CALLING = ("success_callback_name", "failure_callback_name", "stopped_callback_name", "webhooks")
#: Characters of a foreign name that are shown.
_SHOWN = 100


class JobRefused(Exception):
    """A job is not one of ours."""


class OwnJob(CompatJob):
    """A job that calls one of `FUNCTIONS` or nothing."""

    #: Why it may not be run, if that is known from its fields alone.
    _foreign: str | None = None

    def restore(self, raw_data: Any) -> None:
        """Take over the fields that Redis has.

        Raises:
            NoSuchJobError: they are not those of a job; RQ then passes over it.
        """
        fields = {name.decode("utf-8", "replace"): value for name, value in raw_data.items()}
        calling = [name for name in _CALLING if fields.get(name)]
        if calling:
            self._foreign = f"it has {' and '.join(calling)}"
        try:
            super().restore({name: value for name, value in raw_data.items() if name.decode() not in _CALLING})
        except NoSuchJobError:
            raise
        except Exception as error:
            log.error("passed over the job %r, which cannot be read: %s", self.id, type(error).__name__)
            raise NoSuchJobError(f"the job {self.id} cannot be read") from None
        if self._refusal():
            self.retries_left = None

    @property
    def func(self) -> Callable[..., Any]:
        """The function to be called.

        Raises:
            JobRefused: it is not one of ours.
        """
        if refusal := self._refusal():
            raise JobRefused(refusal)
        return FUNCTIONS[str(self.func_name)]

    def _refusal(self) -> str | None:
        name = self.func_name
        if self._foreign is not None:
            return self._foreign
        if not isinstance(name, str) or name not in FUNCTIONS:
            return f"it names {name!r:.{_SHOWN}}" if name else "its data are not JSON of four values"
        return None if self.instance is None else "it brings an object whose method is called"
