"""Looks that are taken in a process of their own."""

import subprocess
import sys

import pytest

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
