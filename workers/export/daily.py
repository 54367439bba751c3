"""The daily export: what `ingest export` does, by itself, once a day when log files were compared with the store.

It shares the queue of the drains, so it gives them their turn between two files. Asked to stop, it stops there;
another job does the rest.
"""

import logging
import time
from collections import Counter
from datetime import UTC, datetime

import redis

from ingest import partitions, redis_client, shown
from ingest.errors import IngestError, Interrupted, SettingsError
from ingest.jobs import JobScheduler
from ingest.settings import Settings
from ingest.stream.exports import Exports
from workers.drain.turns import Turns
from workers.export.run import export, files_behind
from workers.export.targets import target_of
from workers.pausing import events_are_paused
from workers.reconcile.daily import LATER, SOON
from workers.runtime import unless_refused

log = logging.getLogger(__name__)


def export_job() -> int:
    """Export what has changed; an RQ job.

    Returns how many events were written. Outcomes:

    done      every day that is over is at the target as the store has it
    killed    what was written stays; another job does the rest
    failed    the target, Redis or the database did not answer: logged in one line, tried again later
    """
    settings = Settings.read()
    if settings.export_to is None:
        return 0
    today = datetime.now(UTC).date().isoformat()
    if events_are_paused(settings, lambda scheduler: scheduler.retry_export(today, SOON)):
        return 0
    try:
        return _export(settings, settings.export_to)
    except ModuleNotFoundError:
        _failed(
            settings,
            today,
            SettingsError("Exports need what is not installed: pip install 'copernica-ingest[parquet]'."),
        )
    except (IngestError, redis.RedisError) as error:
        _failed(settings, today, error)
    return 0


def _export(settings: Settings, to: str) -> int:
    target, rows, days = target_of(to), 0, 0
    behind: Counter[str] = Counter()
    with redis_client.connect(settings.redis) as client, partitions.opened(settings, client) as streams:
        for one in export(settings, target, settings.export_format, breathe=Turns(streams).take):
            rows, days = rows + one.rows, days + one.changed
            behind.update(one.behind)
        with unless_refused():
            Exports(client).done(time.time())
    log.info(
        "exported to %s: %s of %s", target.shown, shown.counted(rows, "event"), shown.counted(days, "day"),
        extra={"event": "exported"},
    )  # fmt: skip  # a list to be read across
    for sentence in files_behind(behind, target.shown):
        log.warning("%s", sentence, extra={"event": "export-behind"})
    return rows


def _failed(settings: Settings, today: str, error: Exception) -> None:
    """Have it tried again."""
    log.error("the daily export stopped early and will be tried again later: %s", error)
    try:
        with redis_client.connect(settings.redis) as client, unless_refused():
            JobScheduler(client).retry_export(today, SOON if isinstance(error, Interrupted) else LATER)
            if not isinstance(error, Interrupted):
                Exports(client).failed(time.time(), shown.without_secrets(str(error)))
    except redis.RedisError as gone:
        log.warning("Redis is unreachable too: %s", gone)
