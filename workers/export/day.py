"""Exports one day: what has changed of it since it was exported, and nothing else.

It is done in this order, so that a kill at any moment leaves files that are whole, and a manifest that tells which
of them it knows: each file that differs is replaced in one step, then the manifest, and in the end files are
deleted that nothing is left of. What was being written is written again.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from operator import attrgetter
from pathlib import Path

from ingest import shown
from ingest.copernica.event_types import EventType
from ingest.copernica.events import MICROS
from ingest.errors import Unavailable
from workers.export import contents, files, manifest
from workers.export.contents import Day
from workers.export.files import Begun
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


@dataclass(slots=True)
class Exporting:
    """The export of one day, in three steps: `look`; `read`, which alone needs the database; and `write`."""

    store: Store
    target: Target
    form: str
    day: Day
    anew: bool
    watch: Watch
    breathe: Callable[[], object]
    #: What is at the target: its manifest, the files, those of them that the manifest knows, and other formats.
    _before: Manifest | None = None
    _there: Mapping[str, Stored] = field(default_factory=dict)
    _known: Mapping[str, File] = field(default_factory=dict)
    _behind: tuple[str, ...] = ()
    #: Where each type is written, how many events of it were read, and what its changes were before that.
    _paths: dict[str, Path] = field(default_factory=dict)
    _read: dict[str, tuple[int, str]] = field(default_factory=dict)
    _begun: list[Begun] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Give up what was begun and is not written."""
        for one in self._begun:
            one.close()
        self._open.close()

    def look(self) -> None:
        """Look what is at the target, and what of the day is to be written."""
        self._before = Manifest.read(self.target.read(self._name(self._manifest)), self._shown_manifest)
        if self._is_left:
            return
        self._there = self.target.listed(self._folder)
        self._behind = tuple(self._other_formats())
        if self._before is not None:
            self._known = {one.type: one for one in self._before.files if _is_there(one, self._there)}
        stale = [kind for kind in self.day.types if not self._is_known(kind)]
        self._paths = {kind: self._open.enter_context(self.target.scratch()) for kind in stale}

    def read(self) -> None:
        """Read the events that are to be written, and those of types that have changed meanwhile once more."""
        done: Counter[str] = Counter()

        def passed(kind: str, rows: int) -> None:
            done[kind] += rows
            self.watch(f"{self.day.day} {kind}", done[kind], self.day.types[kind].rows)

        counted, stale = self.day.types, list(self._paths)
        for _ in range(ATTEMPTS):  # what changes all the time is as it was before: the next run writes it again
            if not stale:
                break
            done.clear()
            for one in self._begun:  # of the same files
                one.finish()
            paths = {kind: self._paths[kind] for kind in stale}
            begun = files.read(self.store, self.form, Slice(self.day.day, stale), paths, passed)
            self._begun.append(begun)
            self._read |= {kind: (begun.rows[kind], counted[kind].changes) for kind in stale}
            now = contents.counted(self.store, self.day.day)
            for kind in stale:
                if now.get(kind) == counted[kind] and begun.rows[kind] != counted[kind].rows:
                    _warn(self.day.day, kind, begun.rows[kind], counted[kind].rows)
            stale = [kind for kind in stale if now.get(kind, counted[kind]) != counted[kind]]
            counted = now

    def write(self) -> Exported:
        """Put the files that differ in their places, and say so in the manifest."""
        try:
            return self._left() if self._is_left else self._written()
        finally:
            self.close()

    @property
    def _is_left(self) -> bool:
        """Whether the store may no longer have all that is at the target."""
        before = self._before
        return before is not None and not self.anew and (before.frozen or self.day.frozen)

    def _left(self) -> Exported:
        before = self._before
        assert before is not None
        kept = replace(before, frozen=True)
        if not before.frozen:
            self.target.write(self._name(self._manifest), replace(kept, edition=before.edition + 1).as_bytes())
        return Exported(self.day.day, kept, why="the store no longer has all of it")

    def _written(self) -> Exported:
        day, before = self.day, self._before
        if before is None and not day.types:
            return Exported(day.day, None, why="there are no events of it", behind=self._behind)
        edition = 1 if before is None else before.edition + 1
        made = tuple(sorted(self._files(edition), key=attrgetter("type")))
        now = Manifest(
            f"{day.day}", self.form, edition, _now(), day.over, day.complete, day.frozen,
            sum(one.rows for one in made), made,
        )  # fmt: skip  # a list to be read across
        written = [one for one in made if one.edition == edition]
        if written:
            self._require(made)
        if before is None or _differs(before, now):
            self.target.write(self._name(self._manifest), now.as_bytes())
        else:
            now = before
        deleted = self._tidy(self._there, made)
        rows = sum(one.rows for one in written)
        return Exported(day.day, now, len(written), rows, deleted, behind=self._behind)

    def _other_formats(self) -> Iterator[str]:
        """The other formats in which it is there as it was once: with people who have been erased since."""
        now = {kind: counted.changes for kind, counted in self.day.types.items()}
        for form in files.ENDINGS:
            name = manifest.name_of(form)
            if form == self.form or name not in self._there:
                continue
            with suppress(Unavailable):  # a later release wrote it, and sees to it
                known = Manifest.read(self.target.read(self._name(name)), name)
                if known is None or {one.type: one.changes for one in known.files} != now:
                    yield form

    @property
    def _folder(self) -> str:
        return f"{DAY}{self.day.day}"

    @property
    def _manifest(self) -> str:
        return manifest.name_of(self.form)

    @property
    def _shown_manifest(self) -> str:
        return f"{self.target.shown}/{self._name(self._manifest)}"

    def _name(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _is_known(self, kind: str) -> bool:
        """Whether the file of a type is there as the store has it."""
        one = self._known.get(kind)
        return one is not None and one.changes == self.day.types[kind].changes and not self.anew

    def _files(self, edition: int) -> Iterator[File]:
        """The files of all types; those that were read are put in their places."""
        yield from (self._known[kind] for kind in self.day.types if kind not in self._paths)
        for one in self._begun:
            one.finish()
        for kind, (rows, changes) in self._read.items():
            if rows:
                yield self._put(kind, rows, changes, edition)
                self.breathe()

    def _put(self, kind: str, rows: int, changes: str, edition: int) -> File:
        """Put a file in its place, unless it is there with the same bytes."""
        path, known = self._paths[kind], self._known.get(kind)
        digest, name = _digest(path), f"{kind}{files.ENDINGS[self.form]}"
        if known is not None and known.sha256 == digest and not self.anew:
            return replace(known, changes=changes)
        stored = self.target.put(self._name(name), path)
        return File(name, kind, rows, stored.size, digest, edition, _now(), changes, stored.etag)

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


def _warn(day: date, kind: str, rows: int, counted: int) -> None:
    log.warning(
        "%s %s: there are %s, but %d are counted: run `ingest db upgrade --recount`",
        day, kind, shown.counted(rows, "event"), counted,
        extra={"event": "miscounted"},
    )  # fmt: skip  # a list to be read across


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
