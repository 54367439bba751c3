"""`ingest status --watch` in a terminal of its own."""

import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.running import clean_environ, ingest, run, until


class Terminal:
    """A command in a terminal: what it has shown so far, and a keyboard."""

    def __init__(self, process: "subprocess.Popen[bytes]", master: int) -> None:
        self.process = process
        self._master = master
        self.shown = b""

    def shows(self, text: bytes) -> bool:
        with suppress(OSError):  # nothing now, or nothing any more
            self.shown += os.read(self._master, 65536)
        return text in self.shown

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)


@contextmanager
def terminal(environ: dict[str, str], *arguments: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    os.set_blocking(master, False)
    with subprocess.Popen(
        ingest(*arguments),
        env=clean_environ() | environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "40"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as process:
        try:
            yield Terminal(process, master)
            assert termios.tcgetattr(slave) == before
        finally:
            process.kill()
            os.close(slave)
            os.close(master)


@pytest.fixture
def environ(redis_url: str, sqlite_url: str, tmp_path: Path) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "DATABASE_URL": sqlite_url, "INGEST_DATA_DIR": str(tmp_path)}


def test_it_shows_the_figures_again_and_again_until_q(environ: dict[str, str]) -> None:
    with terminal(environ, "status", "--watch", "0.5") as shown:
        until(lambda: shown.shows(b"q ends"), "the figures")
        shown.shown = b""
        until(lambda: shown.shows(b"no-endpoint"), "the figures once more")
        shown.type(b"x")
        shown.type(b"q")
        until(lambda: not shown.shows(b"\0") and shown.process.poll() is not None, "the end")
        assert shown.process.returncode == 2  # as without --watch


def test_ctrl_c_ends_it_too(environ: dict[str, str]) -> None:
    with terminal(environ, "status", "--watch") as shown:
        until(lambda: shown.shows(b"every 2 s"), "the figures")
        os.killpg(shown.process.pid, signal.SIGINT)
        until(lambda: not shown.shows(b"\0") and shown.process.poll() is not None, "the end")
        assert shown.process.returncode == 130
        assert b"Traceback" not in shown.shown


def test_only_one_way_to_show_it_can_be_asked_for(environ: dict[str, str]) -> None:
    done = run("status", "--watch", "--json", environ=environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Choose one of --json, --quiet and --watch" in done.stderr
