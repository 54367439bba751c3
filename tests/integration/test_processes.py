"""Processes that watch over each other, and looks that are taken in a process of their own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.processes import Child

ASIDE = """
import os, signal
from ingest.processes import aside
aside(lambda: {})
print("it was well")
"""


@pytest.mark.parametrize(
    ("look", "is_well"), [("None", True), ("os.kill(os.getpid(), signal.SIGKILL)", False), ("1 // 0", False)]
)
def test_a_look_that_does_not_come_to_its_end_is_no_good_one(look: str, is_well: bool) -> None:
    done = subprocess.run([sys.executable, "-c", ASIDE.format(look)], capture_output=True, text=True, check=False)
    assert ("it was well" in done.stdout) is is_well, done.stderr


WATCHED = """
import os, signal, socket, threading, time
from ingest.processes import Child, watch
from ingest.stops import StopSignals

class Counting(StopSignals):
    waits = 0

    def wait(self, awaited, seconds):
        self.waits += 1
        super().wait(awaited, seconds)

def until(holds):
    while not holds():
        time.sleep(0.01)

def happen():
    time.sleep(0.5)
    print("at rest", signals.waits <= 1, asked.process is None)
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: child.alive and child.process.pid != first)
    print("restarted")
    with socket.create_connection(sock.getsockname()):
        until(lambda: asked.alive)
    print("asked for")
    os.kill(os.getpid(), signal.SIGTERM)

with Counting.caught() as signals, socket.create_server(("127.0.0.1", 0)) as sock:
    child, asked = Child("child", ["sleep", "60"]), Child("asked", ["sleep", "60"], on_demand=sock)
    child.start()
    threading.Thread(target=happen).start()
    watch([child, asked], signals, lambda _: None)
    print("stopped", child.end(), asked.end())
"""
FOLLOWING = """
import os, subprocess, sys, time
from ingest import processes

if len(sys.argv) == 1:
    own = os.environ | {processes.PARENT: str(os.getpid())}
    with subprocess.Popen([sys.executable, __file__, "child"], env=own, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        os._exit(0)
processes.PARENT_CHECK_INTERVAL = 3600.0
print("ready", flush=True)
processes.follow_parent(lambda: (print("gone", file=sys.stderr, flush=True), os._exit(0)))
time.sleep(60)
"""


def test_children_are_watched_by_what_the_system_tells_and_not_by_looking_again_and_again() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split("\n") == [
        "at rest True True", "restarted", "asked for", "stopped False False", "",
    ], done.stderr  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system does not tell")
def test_a_child_is_told_of_the_end_of_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "following.py"
    script.write_text(FOLLOWING)
    done = subprocess.run(
        [sys.executable, str(script)], stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    assert done.stderr == "gone\n"


def test_a_child_that_cannot_be_started_ends_nobody_and_is_tried_again(tmp_path: Path) -> None:
    program = tmp_path / "program"
    with socket.create_server(("127.0.0.1", 0)) as sock:
        child = Child("child", [str(program)], on_demand=sock)
        assert child.check() is None
        with socket.create_connection(sock.getsockname()):
            assert child.check() == "child cannot be started (No such file or directory); trying again"
            assert (child.awaited, child.is_down) == (None, True)
            program.symlink_to("/bin/sleep")
            child.restart_soon()
            assert child.check() is None
            assert child.process is not None
            child.end()
