"""Keeping a claim while its calls are made."""

import logging
import threading

from ingest.errors import IngestError
from workers.handlers.claims import Claim
from workers.handlers.work_queue import LEASE, WorkQueue

log = logging.getLogger(__name__)


class LeaseRenewal:
    """Renews a claim while its calls are made, from a thread, because a call may take longer than the lease."""

    def __init__(self, queue: WorkQueue, claim: Claim) -> None:
        self._queue = queue
        self._claim = claim
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._over.wait(LEASE / 3):
            try:
                self._queue.renew(self._claim)
            except IngestError as error:
                log.warning("a claim could not be renewed: %s", error)
