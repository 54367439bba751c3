"""The shortest outage that shows what `make chaos` shows in minutes."""

from pathlib import Path

from tests.chaos.test_outages import P99, go_on, outage, stop


def test_no_call_fails_while_redis_is_silent_and_all_are_stored_after(tmp_path: Path) -> None:
    figures = outage(stop, go_on, 2.0, 500, tmp_path)
    assert figures["stored"] == figures["acknowledged"] == figures["sent"]
    assert figures["p99_ms_during"] <= P99 * 1000
