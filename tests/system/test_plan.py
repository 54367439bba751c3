"""`ingest plan --measure` on this machine: real processes, in a folder of their own."""

import json
import subprocess
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from ingest.capacity.figures import PACKAGED, Figures
from tests.support.running import clean_environ, ingest


@pytest.mark.timeout(300)
def test_a_machine_is_measured_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environ = {
        **clean_environ(),
        "TMPDIR": str(tmp_path),
        "DATABASE_URL": "postgresql://nobody@nowhere.invalid/none",
    }
    command = ingest("plan", "--rate", "100k", "--measure", "--json")
    done = subprocess.run(
        command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    found = Figures.of(json.loads(done.stdout), "what was measured")
    measured = {each.name for each in fields(Figures) if asdict(found)[each.name] != asdict(PACKAGED)[each.name]}
    assert {
        "machine",
        "endpoint_us",
        "append_us",
        "claim_us",
        "sqlite_us",
        "stream_bytes",
        "sqlite_bytes",
    } <= measured
    assert 10 < found.endpoint_us < 5000
    assert 60 < found.stream_bytes < 200
    assert 300 < found.sqlite_bytes < 700
    assert list(tmp_path.iterdir()) == []
