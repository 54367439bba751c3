"""Whom Sentinels name the primary: more than one of them has a say."""

import pytest
import redis

from ingest.redis_sentinel import Answer, _Election
from ingest.redis_url import Sentinels

OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6379)
AWAY = redis.TimeoutError("no answer in time")


def elected(*answers: Answer, of: int = 0) -> tuple[tuple[str, int], int]:
    """The address, and after how many answers it was certain."""
    election = _Election(Sentinels("m", ("redis://s",) * (of or len(answers))))
    for number, answer in enumerate(answers, 1):
        if address := election.hear(answer):
            return address, number
    return election.result(), len(answers)


@pytest.mark.parametrize(
    ("answers", "address", "asked"),
    [
        ([NEW], NEW, 1),
        ([NEW, NEW, OLD], NEW, 2),
        ([OLD, NEW, NEW], NEW, 3),
        ([AWAY, NEW], NEW, 2),
        ([AWAY, AWAY, NEW], NEW, 3),
        ([None, NEW, AWAY], NEW, 3),
        ([OLD, NEW, NEW, AWAY, AWAY], NEW, 5),
    ],
)
def test_most_are_believed_and_nobody_is_waited_for_who_changes_nothing(
    answers: list[Answer], address: tuple[str, int], asked: int
) -> None:
    assert elected(*answers) == (address, asked)


@pytest.mark.parametrize(
    ("answers", "kind", "said"),
    [
        ([AWAY, AWAY], redis.ConnectionError, "no Sentinel answers: no answer in time"),
        ([AWAY, None], redis.ResponseError, "no Sentinel knows a primary with the name m"),
        ([redis.AuthenticationError("NOAUTH"), AWAY], redis.AuthenticationError, "sentinel_password"),
    ],
)
def test_why_nobody_names_it_is_said(answers: list[Answer], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        elected(*answers)
