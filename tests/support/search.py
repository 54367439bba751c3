"""`make fuzz`: the property tests with examples that nobody has tried yet, for as long as SECONDS says.

One round after the other over all property tests, each with a seed of its own that is printed: the first is SEED,
or drawn. What fails is kept in `.hypothesis/examples` and tried first from then on, also by the next `make fuzz`.
As a plugin of pytest this module is what makes a round: it sets the profile, and skips what is left at the end.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.support import constants
from tests.support.source import ROOT, modules

#: Examples of each test in one round, where the test does not say.
EXAMPLES = 300
#: Seconds of searching, unless SECONDS says otherwise.
SECONDS = 300.0
#: By which a round knows how many seconds it may search.
ROUND = "FUZZ_SECONDS"
#: By which the processes of a round share when its first test began and how many ran: a file that grows.
STARTED = "FUZZ_STARTED"
#: pytest's answers if a test failed, and if there was nothing to run.
FOUND = 1
NO_TESTS = 5


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Search until the time is over; 1 if something was found, more if pytest could not run."""
    seconds = float(environ.get("SECONDS") or SECONDS)
    first = int(environ.get("SEED") or random.SystemRandom().randrange(2**32))
    print(f"searching for {seconds:g} s; to repeat: SEED={first} SECONDS={seconds:g} make fuzz", flush=True)
    seed, left, tests = first, seconds, 0
    while left > 0:
        print(f"SEED={seed}", flush=True)
        code, began, ran = _one_round(seed, left, environ)
        tests += ran
        if code not in (0, FOUND, NO_TESTS):
            print(f"pytest could not run the tests (it answered {code}), so nothing was searched", flush=True)
            return code
        if code == FOUND:
            print(f"found with SEED={seed}; to repeat: SEED={seed} SECONDS={seconds:g} make fuzz", flush=True)
            return 1
        if not ran:
            print("no property test ran, so nothing was searched", flush=True)
            return 1
        left -= time.time() - began
        seed += 1
    print(f"{seed - first} rounds, {tests} property tests run, nothing found")
    return 0


def _one_round(seed: int, seconds: float, environ: Mapping[str, str]) -> tuple[int, float, int]:
    """Pytest's answer, the moment at which the first test began, and how many ran."""
    with tempfile.TemporaryDirectory() as folder:
        started = Path(folder) / "started"
        started.touch()
        # -n auto: on all cores; a round's examples are the same however the tests are spread.
        argv = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "-p", __spec__.name, "-m", "hypothesis"]
        argv += [f"--hypothesis-seed={seed}", "tests/unit", "tests/integration"]
        more = {ROUND: str(seconds), STARTED: str(started)}
        done = subprocess.run(argv, cwd=ROOT, env={**environ, **more}, check=False)
        moments = [float(line) for line in started.read_text().splitlines()]
    return done.returncode, min(moments, default=time.time()), len(moments)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    settings.register_profile(
        "search",
        deadline=None,
        max_examples=EXAMPLES,
        database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples"),
    )
    settings.load_profile("search")
    constants.try_those_of(modules().values())


def pytest_runtest_setup() -> None:
    """Skip what begins after the time is over, counted from the first test: starting up is not searching."""
    now = time.time()
    with Path(os.environ[STARTED]).open("a+") as file:
        file.seek(0)
        began = float(file.readline() or now)
        if now > began + float(os.environ[ROUND]):
            pytest.skip("the time is over")
        file.write(f"{now}\n")  # one short line in append mode, so processes do not mix theirs


if __name__ == "__main__":
    sys.exit(main())
