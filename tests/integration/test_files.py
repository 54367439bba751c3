"""Log files as people keep them: `tests/files`, each with what comes of it in the table of its README."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ingest.copernica.logfiles.reader import Entry, read
from tests.support.source import ROOT
from workers.reconcile.by_hand import by_hand
from workers.reconcile.logfile import LogFile, Unpackable

FILES = ROOT / "tests" / "files"


class Outcome(NamedTuple):
    """What comes of a folder: events, lines that cannot be read, files left out, and words that are said."""

    events: str
    unreadable: str
    left_out: str
    says: str


def table() -> Iterator[tuple[str, Outcome]]:
    for line in (FILES / "README.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            folder, _, *outcome = cells
            yield folder.strip("`"), Outcome(*outcome)


TABLE = dict(table())


def rows_of(file: LogFile) -> tuple[int, list[str]]:
    """How many events there are to take, and what is said about the rest."""
    events, said = 0, []
    with file.open() as stream:
        try:
            if file.kind.type:
                for row in read(stream, file.kind, whole=file.whole, pick=file.pick(), encoding=file.encoding):
                    events += isinstance(row, Entry)
                    said += [] if isinstance(row, Entry) else [row.reason]
        except Unpackable as error:
            said.append(f"what follows cannot be unpacked ({error})")
    return events, said


@pytest.mark.parametrize("folder", TABLE)
def test_each_file_has_the_outcome_that_the_table_says(folder: str) -> None:
    expected = TABLE[folder]
    with by_hand([*sorted((FILES / folder).iterdir()), FILES / "no-such-file"], None, None) as given:
        left_out = [left for left in given.left_out if not left.litter]
        assert left_out.pop().reason == "does not exist"
        rows = [rows_of(file) for file in given.files]
        said = [note for file in given.files for note in file.notes] + [left.reason for left in left_out]
    unreadable = [reason for _, reasons in rows for reason in reasons]
    said += unreadable
    got = Outcome(
        str(sum(events for events, _ in rows)), str(len(unreadable)), str(len(left_out)), "; ".join(said)
    )
    assert expected.events in (got.events, "some")
    assert got[1:3] == expected[1:3], got.says
    assert expected.says in got.says if expected.says else not said
    assert "\ufffd" not in got.says


def test_the_table_and_the_folder_name_the_same_files() -> None:
    assert sorted(TABLE) == sorted(path.name for path in FILES.iterdir() if path.is_dir())
