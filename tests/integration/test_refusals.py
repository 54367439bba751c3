"""A few of the calls that are refused can be looked at, and what strangers send there is harmless and bounded."""

import logging
from typing import Any

import redis

from ingest.endpoint.refusals import (
    EVERY,
    LONGEST_VALUE,
    MOST_CHARACTERS,
    MOST_WAITING,
    RefusalSample,
    shown_headers,
    shown_target,
)
from ingest.errors import Reason
from ingest.stream.refusals import KEPT, MOST_BYTES, Refusal, Refusals


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Connected:
    """As much of a connection as is asked."""

    def get_extra_info(self, name: str) -> Any:
        return {"peername": ("192.0.2.7", 4711)}[name]


def refusal(reason: str, number: int) -> Refusal:
    return Refusal(reason, number, "POST", "/copernica", [("host", f"{number}.example")])


def test_the_last_few_of_each_reason_are_kept(client: redis.Redis) -> None:
    kept = Refusals(client)
    kept.add([refusal("wrong-host", number) for number in range(KEPT + 5)])
    kept.add([refusal("too-old", 7)])
    found = Refusals(client).all()
    hosts = [one.host for one in found if one.reason == "wrong-host"]
    assert hosts == [f"{number}.example" for number in reversed(range(5, KEPT + 5))]
    assert [one.at for one in found if one.reason == "too-old"] == [7]
    assert client.ttl("ingest:{0}:" + "refusals") > 0


def test_what_cannot_be_read_is_left_out(client: redis.Redis) -> None:
    kept = {"too-old:1": "{", "too-old:2": '{"reason": 1}', "too-old:n": "2"}
    client.hset("ingest:{0}:" + "refusals", mapping=kept)  # type: ignore[arg-type]
    assert Refusals(client).all() == []


def test_a_flood_of_one_reason_is_sampled_and_does_not_displace_another() -> None:
    clock = Clock()
    sample = RefusalSample(logging.getLogger("test"), clock)
    for _ in range(1000):
        sample.note("wrong-signature", "POST", b"/", [])
    sample.note("wrong-host", "POST", b"/", [])
    assert [one.reason for one in sample.take()] == ["wrong-signature", "wrong-host"]
    clock.now += EVERY
    sample.note("wrong-signature", "POST", b"/", [])
    assert len(sample.take()) == 1


def test_no_more_wait_than_there_is_room_for_while_redis_is_away() -> None:
    clock = Clock()
    sample = RefusalSample(logging.getLogger("test"), clock)
    for _ in range(MOST_WAITING + 10):
        clock.now += EVERY
        sample.note("too-old", "POST", b"/", [])
    taken = sample.take()
    assert len(taken) == MOST_WAITING
    sample.note("too-new", "POST", b"/", [])
    sample.give_back(taken)
    assert [one.reason for one in sample.take()][-1] == "too-new"


def test_where_a_call_came_from_is_told_of_that_call_only() -> None:
    sample = RefusalSample(logging.getLogger("test"), Clock())
    sample.note("wrong-host", "POST", b"/", [])
    sample.came_from(Connected())  # type: ignore[arg-type]
    sample.note("wrong-host", "POST", b"/", [])  # too soon: not kept
    sample.came_from(Connected())  # type: ignore[arg-type]
    sample.note("too-old", "POST", b"/", [])
    sample.came_from(None)  # it is gone
    assert [(one.reason, one.peer) for one in sample.take()] == [("wrong-host", "192.0.2.7:4711"), ("too-old", "")]


def test_secrets_are_hidden_and_what_helps_is_not() -> None:
    headers = dict(
        shown_headers(
            [
                (b"Host", b"hooks.example.nl"),
                (b"Authorization", b"Bearer geheim"),
                (b"Cookie", b"session=geheim"),
                (b"X-Api-Key", b"geheim"),
                (b"Signature", b'keyId="k",headers="date host",signature="geheim"'),
            ]
        )
    )
    assert "geheim" not in str(headers)
    assert headers["Host"] == "hooks.example.nl"
    assert headers["Signature"] == 'keyId="k",headers="date host",signature="***"'
    assert shown_target(b"/copernica?token=geheim&geheim") == "/copernica?token=…&…"


def test_whatever_is_sent_is_kept_short() -> None:
    sent = [(b"x-%d" % number, b"\xff" * 10_000) for number in range(200)]
    shown = shown_headers(sent)
    assert sum(len(name) + len(value) for name, value in shown) <= MOST_CHARACTERS + 1
    assert all(len(value) <= LONGEST_VALUE + 1 for _, value in shown)
    one = Refusal(Reason.WRONG_HOST.value, 1, "POST", shown_target(b"/" + b"\x00" * 9999), shown)
    assert len(one.as_json()) <= MOST_BYTES
