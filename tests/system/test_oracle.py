"""The oracle of `make chaos`, run for a few seconds."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.network import why_none
from tests.support.running import running


def summary_of(environ: Mapping[str, str], tmp_path: Path, seconds: float) -> dict[str, Any]:
    """What a run says of itself that kept the promise."""
    environ = {**environ, "RUNS": "1", "CHAOS_OUT": str(tmp_path / "out")}
    with running([sys.executable, "-m", "tests.chaos"], environ, tmp_path / "log") as oracle:
        assert oracle.wait(seconds) == 0, oracle.output
    summary: dict[str, Any] = json.loads((tmp_path / "out").read_text())
    assert summary["kept"]
    return summary


def test_a_short_run_keeps_the_promise(tmp_path: Path) -> None:
    """Mild faults only, so that nothing has to grow old; `make chaos` runs with all of them."""
    summary = summary_of({"SEED": "1", "SECONDS": "6", "MILD": "1"}, tmp_path, 200)
    assert summary["acknowledged"] > 500
    assert summary["faults"]


@pytest.mark.timeout(500)
@pytest.mark.skipif(bool(why_none()), reason=f"no network of its own: {why_none()}")
def test_a_short_run_over_three_machines_keeps_the_promise(tmp_path: Path) -> None:
    """One machine, with a stream server and the database, loses its power while a link to it is cut."""
    summary = summary_of({"SEED": "8768", "SECONDS": "10", "MACHINES": "3"}, tmp_path, 450)
    assert summary["acknowledged"] > 100
    assert {"three: power", "one-three: cut back"} <= summary["faults"].keys()
