"""Exports days: what has changed since they were exported, and nothing else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from datetime import UTC, date, datetime
from threading import Event

from ingest import shown
from ingest.errors import IngestError, Interrupted
from ingest.settings import Settings
from workers.export import contents, files
from workers.export.day import DAY, Exported, Exporting, Watch
from workers.export.targets import Target
from workers.store.store import Store


def export(
    settings: Settings,
    target: Target,
    form: str,
    wanted: Sequence[date] = (),
    *,
    anew: bool = False,
    watch: Watch = lambda what, done, total: None,
    breathe: Callable[[], object] | None = None,
) -> Iterator[Exported]:
    """Export these days, or all that are over; of each is told what became of it.

    With `anew` everything is written again, also what the retention may have deleted from since. `breathe` is
    called whenever nothing of the database is in use; without it, and as Parquet, a day is read while the one
    before is written.

    Raises:
        Unavailable: the database or the target cannot be used now; what is done stays done.
        SettingsError: the target refuses us.
    """
    over, pause = Event(), breathe or (lambda: None)

    def watched(what: str, done: int, total: int | None) -> None:
        if over.is_set():
            raise Interrupted("Nobody waits for this export any more.")
        watch(what, done, total)

    with target.alone(), Store.of(settings) as store, ExitStack() as open_:
        days = [
            open_.enter_context(closing(Exporting(store, target, form, day, anew, watched, pause)))
            for day in _days(store, settings, target, wanted)
        ]
        if form == files.PARQUET and breathe is None:
            yield from _one_ahead(days, over)
            return
        for one in days:
            pause()
            one.look()
            one.read()
            yield one.write()


def _days(store: Store, settings: Settings, target: Target, wanted: Sequence[date]) -> list[contents.Day]:
    """What the store has of the days that are wanted; none: of all that are over, here or at the target."""
    found = contents.days(store, settings.shortest_retention)
    today = datetime.now(UTC).date()
    days = wanted or sorted(day for day in {*found, *_days_at(target)} if day < today)
    return [found.get(day) or contents.without_events(store, day) for day in days]


def _one_ahead(days: Sequence[Exporting], over: Event) -> Iterator[Exported]:
    """Each day is written while the next one is read; `over` is set when no more is to be read.

    Nothing but reading uses the database then: see `workers.store.sqlite_arrow`.
    """
    before: tuple[Exporting, Future[None]] | None = None
    with ThreadPoolExecutor(1, "reading") as thread:
        try:
            for one in (*days, None):
                failed = _looked(one)
                if before is not None:
                    before[1].result()
                coming = None if one is None or failed else (one, thread.submit(one.read))
                if before is not None:
                    yield before[0].write()
                if failed:
                    raise failed
                before = coming
        finally:
            over.set()


def _looked(one: Exporting | None) -> IngestError | None:
    """Have it look what there is to do; returns why it cannot: what was read before must not suffer for that."""
    try:
        if one is not None:
            one.look()
    except IngestError as error:
        return error
    return None


def files_behind(days: Mapping[str, int], target: str) -> list[str]:
    """What there is to say of so many days that are at a target in other formats, too."""
    return [
        f"{target} also has {shown.counted(number, 'day')} as {form}, as they were once: whoever is erased stays "
        f"in them. Delete those files, or run `ingest export --format {form}` too."
        for form, number in sorted(days.items())
    ]


def _days_at(target: Target) -> Iterator[date]:
    """The days of which a target has a folder: nothing may be left of some in the store."""
    for name in target.folders():
        if name.startswith(DAY):
            with suppress(ValueError):
                yield date.fromisoformat(name.removeprefix(DAY))
