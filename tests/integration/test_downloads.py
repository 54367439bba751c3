"""Downloaded log files: nothing of them is left, even if the process that fetched them was killed."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ingest.errors import Unavailable
from workers.reconcile import downloads

HOLDS = """
import sys
from workers.reconcile import downloads
with downloads.folder() as folder:
    (folder / "cdm-click.2026-11-20.log").write_text("jan@example.nl")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_what_a_killed_process_left_is_removed_and_what_another_uses_is_not(temporary: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        with downloads.folder() as mine:
            assert {each.stat().st_mode & 0o777 for each in (mine, theirs)} == {0o700}
            assert downloads.remove_leftovers() == 0
        assert (mine.exists(), theirs.exists()) == (False, True)
        process.kill()
    assert theirs.exists()
    with downloads.folder():
        assert not theirs.exists()
    assert not list(temporary.iterdir())


def test_only_what_is_certainly_left_over_is_removed(temporary: Path) -> None:
    being_made, long_ago, link, others = (
        temporary / name for name in ("ingest-logfiles-a", "ingest-logfiles-b", "ingest-logfiles-c", "x")
    )
    for each in (being_made, long_ago, others):
        each.mkdir()
    link.symlink_to(others)
    os.utime(long_ago, (0, 0))
    assert downloads.remove_leftovers() == 1
    assert sorted(temporary.iterdir()) == sorted((being_made, link, others))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "has no room left (No space left on device): log files",
        ),
        (OSError(errno.EIO, "Input/output error", "/mnt/x.log"), "/mnt/x.log cannot be used: Input/output error."),
        (OSError(errno.EIO, "Input/output error"), "A file cannot be used: Input/output error."),
    ],
)
def test_what_fails_while_it_is_used_is_said_as_it_is(temporary: Path, error: OSError, said: str) -> None:
    with pytest.raises(Unavailable) as raised, downloads.folder():
        raise error
    assert said in str(raised.value)
    assert ("TMPDIR" in str(raised.value)) == (error.errno == errno.ENOSPC)
    assert not list(temporary.iterdir())


def test_a_folder_that_cannot_be_made_is_one_sentence(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "nowhere"))
    with pytest.raises(Unavailable, match="TMPDIR names another place"), downloads.folder():
        pass
