"""What watches over the tests sees what they leave behind."""

import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import leftovers
from tests.support.leftovers import nothing_is_left
from tests.support.source import ROOT


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "GRACE", 0.0)


def test_tests_that_leave_nothing_pass() -> None:
    with nothing_is_left():
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "file").touch()
        socket.create_server(("127.0.0.1", 0)).close()
        subprocess.run(["true"], check=True)


def test_an_orphan_is_seen() -> None:
    orphan = "sleep 60 > /dev/null & echo $!"
    with pytest.raises(AssertionError, match="sleep 60") as caught, nothing_is_left():
        pid = subprocess.run(["sh", "-c", orphan], stdout=subprocess.PIPE, check=True).stdout
    assert f"{int(pid)}: sleep 60" in str(caught.value)
    subprocess.run(["kill", pid.strip()], check=True)


def test_a_port_that_listens_is_seen() -> None:
    with ExitStack() as stack, pytest.raises(AssertionError, match=r"'port \d+'"), nothing_is_left():
        stack.enter_context(socket.create_server(("127.0.0.1", 0)))


def test_a_file_in_the_working_copy_is_seen() -> None:
    stray = ROOT / "left-by-a-test"
    try:
        with pytest.raises(AssertionError, match="left-by-a-test"), nothing_is_left():
            stray.touch()
    finally:
        stray.unlink()


def test_a_temporary_file_is_seen_and_removed() -> None:
    with pytest.raises(AssertionError, match="'temporary"), nothing_is_left():
        stray = Path(tempfile.mkdtemp(prefix="temporary"))
    assert not stray.exists()
