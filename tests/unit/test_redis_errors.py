"""What is said about a Redis that fails, and how long is waited for it."""

import logging

import pytest
import redis

from ingest import redis_errors
from ingest.redis_client import connect
from ingest.redis_errors import RETRY_FIRST, RETRY_MOST, Outage, described


class Clock:
    """Time as a test wants it."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(redis_errors, "time", clock)
    return clock


READ_ONLY = redis.exceptions.ReadOnlyError("You can't write.", status_code="READONLY")


def test_each_trouble_is_said_once_until_it_is_over(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outage = Outage(logging.getLogger("worker"), "it waits", settle=10)
    outage.served()
    for error in (READ_ONLY, READ_ONLY, redis.ConnectionError("gone"), READ_ONLY, redis.ConnectionError("away")):
        outage.failed(error)
        clock.now += 9
        outage.served()  # something works, but not for long
    clock.now += 1
    outage.served()
    outage.failed(READ_ONLY)
    assert caplog.messages == [
        "it waits, nothing is lost: READONLY You can't write.",
        "it waits, nothing is lost: gone",
        "Redis serves again after 46 s",
        "it waits, nothing is lost: READONLY You can't write.",
    ]


def test_pauses_grow_with_each_attempt_but_not_with_each_failure_of_one(clock: Clock) -> None:
    outage = Outage(logging.getLogger("worker"), "it waits")
    pauses = []
    for _ in range(6):
        outage.failed(READ_ONLY)
        outage.failed(READ_ONLY)
        pauses.append(outage.pause)
        clock.now += outage.pause
    assert pauses == [RETRY_FIRST, 1.0, 2.0, 4.0, RETRY_MOST, RETRY_MOST]
    outage.served()
    outage.failed(READ_ONLY)
    assert outage.pause == RETRY_FIRST


def test_what_is_not_an_error_of_redis_is_said_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    Outage(logging.getLogger("worker"), "it waits").failed(KeyError("at"))
    assert "it waits, nothing is lost: 'at'" in caplog.text
    assert described(redis.ResponseError("ERR unknown command")) == "ERR unknown command"


def test_where_a_connection_comes_from_is_read_wherever_its_socket_is() -> None:
    client = connect("unix:///tmp/a b/c=d.sock")
    told = client.response_callbacks["CLIENT INFO"](b"id=3 addr=/tmp/a b/c=d.sock:0 name=\xfc")
    assert (told["id"], told["name"]) == ("3", "\ufffd")
