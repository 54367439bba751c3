"""What handlers' modules do to the process when they are imported is undone, and told."""

import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from ingest.errors import SettingsError
from workers.handlers.registry import load

numbers = count()
THREAD = "import os, threading; threading.Thread(target=os._exit, args=[0]).start(); threading.Event().wait(30)"
LOGGING = "from logging.config import dictConfig; "


@pytest.mark.parametrize(
    ("does", "what"),
    [
        ("import os; os.chdir('/')", "the working folder"),
        ("import os; os.umask(0)", "the umask"),
        ("import socket; socket.setdefaulttimeout(0.001)", "the time limit of all sockets"),
        ("import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "what signals do"),
        ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", "what signals do"),
        ("import os; os.chdir('/'); os.umask(0)", "the working folder, the umask"),
        (LOGGING + "dictConfig({'version': 1, 'root': {'level': 'ERROR', 'handlers': []}})", "where the log goes"),
        (LOGGING + "dictConfig({'version': 1})", "where the log goes"),
        ("import logging; logging.basicConfig(force=True)", "where the log goes"),
        ("import os", ""),
        ("import os; os.chdir('/'); 1 / 0", "the working folder"),
    ],
)  # fmt: skip
def test_what_a_module_changes_is_put_back_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, does: str, what: str
) -> None:
    module = f"changing_{next(numbers)}"
    (tmp_path / f"{module}.py").write_text(does)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def now() -> object:
        mask = os.umask(0o077)
        os.umask(mask)
        signals = [signal.getsignal(one) for one in (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1)]
        root, ours = logging.root, logging.getLogger("workers.handlers.surroundings")
        return Path.cwd(), mask, socket.getdefaulttimeout(), signals, root.handlers[:], root.level, ours.disabled

    before = now()
    with suppress(SettingsError):  # of the last one
        load([module])
    assert now() == before
    told = [record.getMessage() for record in caplog.records]
    assert told == [] if not what else f"INGEST_HANDLERS={module} changes {what} of the process" in told[0]


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("import os; os._exit(0)", "line 1: SystemExit: os._exit(0)"),
        ("from os import _exit; _exit(4)", "line 1: SystemExit: os._exit(4)"),
        ("import os; number = os.fork() or os._exit(7); print(os.waitpid(number, 0)[1] >> 8)", "7"),
        (THREAD, "has ended the process: os._exit(0) in a thread"),
    ],
)
def test_a_module_that_ends_the_process_does_not_do_so_silently(tmp_path: Path, does: str, code: str) -> None:
    (tmp_path / "ending.py").write_text(does)
    program = "from workers.handlers.registry import load; load(['ending'])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert code in done.stdout + done.stderr
    assert done.returncode == (0 if code == "7" else 1)


def test_where_else_a_module_logs_to_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"logging_{next(numbers)}"
    (tmp_path / f"{module}.py").write_text(
        "import logging, sys\n"
        "added = logging.FileHandler('own.log')\n"
        "logging.basicConfig(force=True, handlers=[added, logging.StreamHandler(sys.stderr)])\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = logging.root.handlers[:]
    load([module])
    added = logging.root.handlers[len(before) :]
    try:
        assert logging.root.handlers[: len(before)] == before
        assert [type(one) for one in added] == [logging.FileHandler], "nothing is on the console twice"
    finally:
        for one in added:
            logging.root.removeHandler(one)
            one.close()
