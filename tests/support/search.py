"""`make fuzz`: the property tests with examples that nobody has tried yet, for as long as SECONDS says.

One round after the other over all property tests, each with a seed of its own that is printed: the first is SEED,
or drawn. What fails is kept in `.hypothesis/examples` and tried first from then on, also by the next `make fuzz`.
As a plugin of pytest this module is what makes a round: it sets the profile, and skips what is left at the end.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.support.source import ROOT

#: Examples of each test in one round, where the test does not say.
EXAMPLES = 300
#: Seconds of searching, unless SECONDS says otherwise.
SECONDS = 300.0
#: By which a round knows when to end: a moment of `time.time`.
ENDS = "FUZZ_ENDS"
#: pytest's answer if there was nothing to run.
NO_TESTS = 5


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Search until the time is over or something was found: 1 then."""
    seconds = float(environ.get("SECONDS") or SECONDS)
    first = int(environ.get("SEED") or random.SystemRandom().randrange(2**32))
    ends = time.time() + seconds
    print(f"searching for {seconds:g} s; to repeat: SEED={first} SECONDS={seconds:g} make fuzz", flush=True)
    seed = first
    while time.time() < ends:
        print(f"SEED={seed}", flush=True)
        # -n auto: on all cores; a round's examples are the same however the tests are spread.
        argv = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "-p", __spec__.name, "-m", "hypothesis"]
        argv += [f"--hypothesis-seed={seed}", "tests/unit", "tests/integration"]
        done = subprocess.run(argv, cwd=ROOT, env={**environ, ENDS: str(ends)}, check=False)
        if done.returncode not in (0, NO_TESTS):
            print(f"found with SEED={seed}; to repeat: SEED={seed} SECONDS={seconds:g} make fuzz", flush=True)
            return 1
        seed += 1
    print(f"{seed - first} rounds, nothing found")
    return 0


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    settings.register_profile(
        "search",
        deadline=None,
        max_examples=EXAMPLES,
        database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples"),
    )
    settings.load_profile("search")


def pytest_runtest_setup() -> None:
    if time.time() > float(os.environ[ENDS]):
        pytest.skip("the time is over")


if __name__ == "__main__":
    sys.exit(main())
