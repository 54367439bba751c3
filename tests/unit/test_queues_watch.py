"""When the server of the queues counts as away, and what becomes of the drain once it is back."""

import sys
import time
from unittest.mock import sentinel

from ingest.processes import Child
from ingest.settings import Settings
from workers.process.queues_watch import AWAY_AFTER, RETURN_GRACE, QueuesWatch, Silence


def test_a_server_that_answers_slowly_is_never_away() -> None:
    silence = Silence(0.0)
    for turn in range(10):  # each answer after one attempt that came to nothing
        assert not silence.failed(turn * AWAY_AFTER + AWAY_AFTER - 0.1)
        assert not silence.answered((turn + 1) * AWAY_AFTER)
    assert not silence.is_away


def test_one_that_stays_silent_is_away_once_and_back_once() -> None:
    silence = Silence(100.0)
    said = [silence.failed(100.0 + second) for second in range(20)]
    assert said.count(True) == 1
    assert said[int(AWAY_AFTER)]
    assert [silence.answered(130.0), silence.answered(132.0)] == [True, False]
    assert silence.returned_at == 130.0
    assert not silence.failed(139.0)


def test_one_that_was_away_at_the_start_need_not_be_waited_for() -> None:
    assert Silence(0.0, is_away=True).is_away


def test_a_drain_that_is_not_needed_any_more_has_ended_when_another_may_start() -> None:
    watch = QueuesWatch(Settings.read({"INGEST_VERIFY": "off"}))
    watch._drain = drain = Child("drain", [sys.executable, "-c", "import time; time.sleep(600)"])
    drain.start()
    watch._settle(sentinel.unused, time.monotonic() + RETURN_GRACE + 1)
    assert drain.process is not None
    assert drain.process.returncode is not None
    watch.end()
