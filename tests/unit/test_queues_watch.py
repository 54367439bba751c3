"""When the server of the queues counts as away."""

from workers.process.queues_watch import AWAY_AFTER, Silence


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
