"""Two hundred thousand requests that nobody should send, and the endpoint is as it was.

`REQUESTS` says how many, `SEED` which. Part of `make test` is a short one, in tests/test_fuzz.py.
"""

import json
import os
import random
from pathlib import Path

from tests.chaos.fuzz import attack_and_judge


def test_no_request_harms_the_endpoint(redis_url: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    requests = int(os.environ.get("REQUESTS") or 200_000)
    print(f"SEED={seed} REQUESTS={requests}", flush=True)
    print(json.dumps(attack_and_judge(redis_url, tmp_path, seed, requests)))
