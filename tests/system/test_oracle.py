"""The oracle of `make chaos`, run for a few seconds."""

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.running import running


def test_a_short_run_keeps_the_promise(tmp_path: Path) -> None:
    """Mild faults only, so that nothing has to grow old; `make chaos` runs with all of them."""
    environ = {"SEED": "1", "SECONDS": "6", "MILD": "1", "RUNS": "1", "CHAOS_OUT": str(tmp_path / "out")}
    with running([sys.executable, "-m", "tests.chaos"], environ, tmp_path / "log") as oracle:
        assert oracle.wait(60) == 0, oracle.output
    summary: dict[str, Any] = json.loads((tmp_path / "out").read_text())
    assert summary["kept"]
    assert summary["acknowledged"] > 500
    assert summary["faults"]
