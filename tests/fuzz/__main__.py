"""`make fuzz-coverage`: SECONDS=300 for each target, TARGETS="head form" for some, KEEP=1 renews the corpus.

Each target runs in a process of its own, as many at once as JOBS says, from the corpus on. Ends with 1 if anything
was found: then it prints the input, which is kept.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS
from tests.support.source import ROOT

#: Where inputs go that a target failed on.
FOUND = ROOT / ".fuzz"
#: Bytes of an input, at most: what readers do with more they do with these.
LENGTH = 4096
#: Seconds that one input may take.
SLOW = 5


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one target."""

    target: str
    executions: int
    #: Edges of our code that were reached, as libFuzzer counts them.
    coverage: int
    inputs: int
    found: bool


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Fuzz the targets that the environment asks for; 1 if anything was found."""
    seconds, jobs = int(environ.get("SECONDS") or 300), int(environ.get("JOBS") or os.cpu_count() or 1)
    names = (environ.get("TARGETS") or " ".join(TARGETS)).split()
    FOUND.mkdir(exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(lambda name: fuzz(name, seconds, bool(environ.get("KEEP"))), names))
    for one in results:
        print(json.dumps(asdict(one)))
    print(f"{sum(one.executions for one in results):,} executions")
    return 1 if any(one.found for one in results) else 0


def fuzz(target: str, seconds: int, keep: bool) -> Result:
    """Fuzz one target for so long."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number, one in enumerate(corpus.read(target)):
            (folder / str(number)).write_bytes(one)
        done = _run(target, str(folder), f"-max_total_time={seconds}", f"-max_len={LENGTH}", f"-timeout={SLOW}")
        if done.returncode:
            print(f"FOUND in {target} (exit code {done.returncode}):\n{done.stderr[-3000:]}", flush=True)
        if keep and not done.returncode:
            corpus.write(target, (path.read_bytes() for path in folder.iterdir()))
        executions = re.findall(r"stat::number_of_executed_units: (\d+)|#(\d+)\t", done.stderr)
        edges = re.findall(r"cov: (\d+)", done.stderr)
        return Result(
            target,
            max((int(a or b) for a, b in executions), default=0),
            int(edges[-1]) if edges else 0,
            len(list(folder.iterdir())),
            bool(done.returncode),
        )


def _run(target: str, *options: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "tests.fuzz.one", target, *options]
    argv += ["-print_final_stats=1", f"-artifact_prefix={FOUND}/{target}-"]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)


if __name__ == "__main__":
    sys.exit(main())
