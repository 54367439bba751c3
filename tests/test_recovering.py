"""The whole way back, short; `make chaos` takes the long one."""

from pathlib import Path

from tests.recovering import recover


def test_what_was_missed_while_the_endpoint_was_down_is_recovered(redis_url: str, tmp_path: Path) -> None:
    figures = recover(redis_url, tmp_path, events=1800, rate=300)
    assert figures["lost"] > 200
    assert figures["recovered"] > 150
