"""Exports days: what has changed since they were exported, and nothing else.

A day is done in this order, so that a kill at any moment leaves files that are whole, and a manifest that tells
which of them it knows: each file that differs is replaced in one step, then the manifest, and in the end files are
deleted that nothing is left of. What was being written is written again.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from operator import attrgetter
from pathlib import Path

from ingest import shown
from ingest.copernica.event_types import EventType
from ingest.copernica.events import MICROS
from ingest.errors import Unavailable
from ingest.settings import Settings
from workers.export import contents, files, manifest
from workers.export.contents import Day
from workers.export.manifest import File, Manifest
from workers.export.targets import Stored, Target
from workers.operations.exporting import moment
from workers.store.backend import Slice
from workers.store.store import Store

#: How the names of folders begin, as readers of Parquet know it: they make a column `day` of it.
DAY = "day="
#: Times that a file is written in a row because its events changed meanwhile; then the next run does it.
ATTEMPTS = 2
#: Bytes of a file that are hashed at a time.
PIECE = 1024 * 1024

log = logging.getLogger(__name__)

#: Is told what is done, how many events of it are, and of how many.
Watch = Callable[[str, int, int | None], object]


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of a day: how many files and events were written, and how many files deleted, just now.

    `manifest` says what is there now; None if nothing is. `why` tells of a day that was left as it is. `behind`
    are other formats in which it is there too, but not as the store has it.
    """

    day: date
    manifest: Manifest | None
    written: int = 0
    rows: int = 0
    deleted: int = 0
    why: str = ""
    behind: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was written or deleted."""
        return bool(self.written or self.deleted)


def export(
    settings: Settings,
    target: Target,
    form: str,
    wanted: Sequence[date] = (),
    *,
    anew: bool = False,
    watch: Watch = lambda what, done, total: None,
    breathe: Callable[[], object] = lambda: None,
) -> Iterator[Exported]:
    """Export these days, or all that are over; of each is told what became of it.

    With `anew` everything is written again, also what the retention may have deleted from since. `breathe` is
    called whenever nothing of the database is in use.

    Raises:
        Unavailable: the database or the target cannot be used now; what is done stays done.
        SettingsError: the target refuses us.
    """
    with target.alone(), Store.of(settings) as store:
        found = contents.days(store, settings.shortest_retention)
        today = datetime.now(UTC).date()
        days = wanted or sorted(day for day in {*found, *_days_at(target)} if day < today)
        for day in days:
            breathe()
            known = found.get(day) or contents.without_events(store, day)
            yield _Exporting(store, target, form, known, anew, watch, breathe).run()


@dataclass(slots=True)
class _Exporting:
    store: Store
    target: Target
    form: str
    day: Day
    anew: bool
    watch: Watch
    breathe: Callable[[], object]

    def run(self) -> Exported:
        """Export the day."""
        day, name = self.day, self._name(manifest.name_of(self.form))
        before = Manifest.read(self.target.read(name), f"{self.target.shown}/{name}")
        if before is not None and not self.anew and (before.frozen or day.frozen):
            if not before.frozen:
                self.target.write(name, replace(before, frozen=True, edition=before.edition + 1).as_bytes())
            return Exported(day.day, replace(before, frozen=True), why="the store no longer has all of it")
        there = self.target.listed(self._folder)
        behind = tuple(self._behind(there))
        if before is None and not day.types:
            return Exported(day.day, None, why="there are no events of it", behind=behind)
        edition = 1 if before is None else before.edition + 1
        known = {} if before is None else {one.type: one for one in before.files if _is_there(one, there)}
        made = tuple(sorted(self._files(known, edition), key=attrgetter("type")))
        now = Manifest(
            f"{day.day}", self.form, edition, _now(), day.over, day.complete, day.frozen,
            sum(one.rows for one in made), made,
        )  # fmt: skip  # a list to be read across
        written = [one for one in made if one.edition == edition]
        if written:
            self._require(made)
        if before is None or _differs(before, now):
            self.target.write(name, now.as_bytes())
        else:
            now = before
        deleted = self._tidy(there, made)
        return Exported(day.day, now, len(written), sum(one.rows for one in written), deleted, behind=behind)

    def _behind(self, there: Mapping[str, Stored]) -> Iterator[str]:
        """The other formats in which it is there as it was once: with people who have been erased since."""
        now = {kind: counted.changes for kind, counted in self.day.types.items()}
        for form in files.ENDINGS:
            name = manifest.name_of(form)
            if form == self.form or name not in there:
                continue
            with suppress(Unavailable):  # a later release wrote it, and sees to it
                known = Manifest.read(self.target.read(self._name(name)), name)
                if known is None or {one.type: one.changes for one in known.files} != now:
                    yield form

    @property
    def _folder(self) -> str:
        return f"{DAY}{self.day.day}"

    def _name(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _files(self, known: Mapping[str, File], edition: int) -> Iterator[File]:
        """The files of all types; those are written that are not there as the store has them."""
        stale: list[str] = []
        for kind, counted in self.day.types.items():
            one = known.get(kind)
            if one is not None and one.changes == counted.changes and not self.anew:
                yield one
            else:
                stale.append(kind)
        with ExitStack() as stack:
            paths = {kind: stack.enter_context(self.target.scratch()) for kind in stale}
            for kind, (rows, changes) in self._written(paths).items():
                if rows:
                    yield self._put(kind, paths[kind], rows, changes, known.get(kind), edition)
                    self.breathe()

    def _put(self, kind: str, path: Path, rows: int, changes: str, known: File | None, edition: int) -> File:
        """Put a file in its place, unless it is there with the same bytes."""
        digest, name = _digest(path), f"{kind}{files.ENDINGS[self.form]}"
        if known is not None and known.sha256 == digest and not self.anew:
            return replace(known, changes=changes)
        stored = self.target.put(self._name(name), path)
        return File(name, kind, rows, stored.size, digest, edition, _now(), changes, stored.etag)

    def _written(self, paths: Mapping[str, Path]) -> dict[str, tuple[int, str]]:
        """Write files; returns how many events are in each, and what its changes were before it was read."""
        done: Counter[str] = Counter()

        def passed(kind: str, rows: int) -> None:
            done[kind] += rows
            self.watch(f"{self.day.day} {kind}", done[kind], self.day.types[kind].rows)

        made: dict[str, tuple[int, str]] = {}
        counted, stale = self.day.types, list(paths)
        for _ in range(ATTEMPTS):  # what changes all the time is as it was before: the next run writes it again
            if not stale:
                break
            done.clear()
            wanted = Slice(self.day.day, stale)
            rows = files.write(self.store, self.form, wanted, {kind: paths[kind] for kind in stale}, passed)
            made |= {kind: (rows[kind], counted[kind].changes) for kind in stale}
            now = contents.counted(self.store, self.day.day)
            for kind in stale:
                if now.get(kind) == counted[kind] and rows[kind] != counted[kind].rows:
                    _warn(self.day.day, kind, rows[kind], counted[kind].rows)
            stale = [kind for kind in stale if now.get(kind, counted[kind]) != counted[kind]]
            counted = now
        return made

    def _require(self, made: Sequence[File]) -> None:
        """See that everything is there that the manifest is about to name.

        Raises:
            Unavailable: somebody else has written to it meanwhile, or it keeps nothing.
        """
        there = self.target.listed(self._folder)
        if gone := [one.name for one in made if one.name not in there]:
            raise Unavailable(
                f"{self.target.shown} has no {self._name(gone[0])}, though that was written: see whether "
                "something else deletes there, or answers in its place; then run the same again."
            )
        if not all(_is_there(one, there) for one in made):
            raise Unavailable(f"Another export has written to {self.target.shown} meanwhile: run the same again.")

    def _tidy(self, there: Mapping[str, Stored], left: Sequence[File]) -> int:
        """Delete files of types that nothing is left of; returns how many."""
        kept = {one.name for one in left}
        ours = {f"{kind}{files.ENDINGS[self.form]}" for kind in EventType}
        gone = sorted((ours & there.keys()) - kept)
        for name in gone:
            self.target.delete(self._name(name))
        return len(gone)


def files_behind(days: Mapping[str, int], target: str) -> list[str]:
    """What there is to say of so many days that are at a target in other formats, too."""
    return [
        f"{target} also has {shown.counted(number, 'day')} as {form}, as they were once: whoever is erased stays "
        f"in them. Delete those files, or run `ingest export --format {form}` too."
        for form, number in sorted(days.items())
    ]


def _warn(day: date, kind: str, rows: int, counted: int) -> None:
    log.warning(
        "%s %s: there are %s, but %d are counted: run `ingest db upgrade --recount`",
        day, kind, shown.counted(rows, "event"), counted,
        extra={"event": "miscounted"},
    )  # fmt: skip  # a list to be read across


def _days_at(target: Target) -> Iterator[date]:
    """The days of which a target has a folder: nothing may be left of some in the store."""
    for name in target.folders():
        if name.startswith(DAY):
            with suppress(ValueError):
                yield date.fromisoformat(name.removeprefix(DAY))


def _is_there(known: File, there: Mapping[str, Stored]) -> bool:
    found = there.get(known.name)
    return found is not None and found.size == known.bytes and found.etag == known.etag


def _differs(before: Manifest, now: Manifest) -> bool:
    """Whether anything but the number and the time of a manifest differs."""
    return replace(now, edition=before.edition, written_at=before.written_at) != before


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _now() -> str:
    return moment(int(datetime.now(UTC).timestamp()) * MICROS)
