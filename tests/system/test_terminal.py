"""Commands at a terminal: the pager, and Ctrl-C."""

import os
import pty
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.builders import event
from tests.support.running import clean_environ, ingest, running, until
from tests.support.sql import rows
from workers.store.store import Store


def at_a_terminal(arguments: str, environ: dict[str, str]) -> tuple[int, str]:
    """Run a command whose input and output are a terminal; returns its code, and what the terminal showed."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        ingest(*arguments.split()),
        env=clean_environ() | environ,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    ) as process:
        os.close(its)
        shown = b""
        with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123
            try:
                while chunk := terminal.read(4096):
                    shown += chunk
            except OSError:  # the other end is closed
                pass
        return process.wait(30), shown.decode()


@pytest.fixture
def environ(sqlite_url: str, tmp_path: Path) -> dict[str, str]:
    with closing(Store.open(sqlite_url)) as store:
        store.add([event(n, recipient=f"a{n}\x1b[31m@example.nl") for n in range(300)])
    return {"DATABASE_URL": sqlite_url, "INGEST_DATA_DIR": str(tmp_path), "TERM": "xterm"}


@pytest.mark.parametrize(
    ("pager", "words", "pages"),
    [
        ("tee {}", "", True),
        ("tee {}", "--format jsonl", True),
        ("tee {}", "--no-pager", False),
        ("", "", False),
        ("'tee {}", "", False),
        ("no-such-pager {}", "", False),
        ("head -n 1", "", False),  # one that leaves early
    ],
)
def test_events_at_a_terminal_are_shown_by_the_pager_that_is_wanted(
    environ: dict[str, str], tmp_path: Path, pager: str, words: str, pages: bool
) -> None:
    paged = tmp_path / "paged"
    code, shown = at_a_terminal(f"events {words}", environ | {"PAGER": pager.format(paged)})
    assert code == 0, shown
    assert paged.exists() is pages
    assert "\x1b" not in (paged.read_text() if pages else shown)
    if pages:
        assert paged.read_text().count("\n") == shown.count("\n") == (300 if "jsonl" in words else 301)
    if "jsonl" not in words:
        assert max(map(len, shown.splitlines())) <= 80


def test_ctrl_c_ends_a_replay_which_can_go_on(
    environ: dict[str, str], sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("from workers import on\n@on('open')\ndef h(event): ...\n")
    more = environ | {"REDIS_URL": redis_url, "INGEST_HANDLERS": "mine"}
    with running(
        ingest("replay", "--handler", "h", "--rate", "1"), more, tmp_path / "log", cwd=tmp_path
    ) as process:
        with closing(Store.open(sqlite_url)) as store:
            until(lambda: rows(store, "SELECT 1 FROM replays WHERE done > 0"), "the replay")
        process.send(signal.SIGINT)
        assert process.wait() == 130
        assert "handed to h so far; the same command continues from here." in process.output
        assert "Traceback" not in process.output
