"""What `ingest catch-up` does: fill the gaps that are due, or look at a period that somebody names."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from ingest.errors import SettingsError
from ingest.settings import Settings
from workers.catch_up.closing import Outcome, fill_due, fill_period
from workers.catch_up.look import Context
from workers.reconcile.logfile import Watch
from workers.reconcile.sources import client
from workers.store.store import Store

#: The longest period that may be named: some 600 requests for each day of it, and each looks at the store.
LONGEST = timedelta(days=7)


def gaps_or_period(
    settings: Settings,
    period: tuple[datetime, datetime] | None,
    dry_run: bool,
    handlers: bool,
    watch: Watch,
    breathe: Callable[[], object] = lambda: None,
) -> Iterator[Outcome]:
    """What became of each gap, or of the period; `breathe` is called often, and may raise to end it.

    Raises:
        SettingsError: COPERNICA_TOKEN is not set, or the period is too long.
        RestError: not everything could be fetched.
        Unavailable: the database or the disk cannot be used now.
    """
    client(settings)  # report a mistake in its settings before waiting for anything
    if period is not None and period[1] - period[0] > LONGEST:
        raise SettingsError(
            f"That is more than {LONGEST.days} days: name at most so many; whole days that are over are quicker "
            "to take from their log files, with `ingest reconcile`."
        )
    with Store.of(settings) as store:
        context = Context(settings, store, watch, breathe, dry_run, handlers)
        if period is None:
            yield from fill_due(context)
        else:
            yield fill_period(context, *period)
