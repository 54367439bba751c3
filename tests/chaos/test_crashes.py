"""What docs/promises.md says of crashes; `python -m tests.chaos.crashes` measures what is not promised, too."""

import pytest

from tests.chaos.crash_disk import possible
from tests.chaos.crash_site import Setup
from tests.chaos.crashes import CASES, crash

#: Cases in which nothing acknowledged may be lost: their names do not say that something is not fsynced.
PROMISED = [
    (setup, kind)
    for setup, kind in CASES
    if not setup.replica and kind != "disk" and not (setup.postgres or (setup.redis and kind == "machine"))
]


@pytest.mark.skipif(not possible(), reason="it takes Linux, root and a loop device")
@pytest.mark.parametrize(("setup", "kind"), PROMISED, ids=[f"{setup.name}, {kind}" for setup, kind in PROMISED])
def test_a_crash_costs_nothing_that_was_acknowledged(setup: Setup, kind: str) -> None:
    cost = crash(setup, kind)
    assert cost.acknowledged > 100
    assert (cost.lost, cost.twice) == (0, 0)
