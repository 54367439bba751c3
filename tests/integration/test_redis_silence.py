"""A Redis that hangs is asked once by who looks, and each time by who works."""

import socket
from collections.abc import Iterator

import pytest
import redis

from ingest import redis_silence
from ingest.redis_client import connect


@pytest.fixture
def hung() -> Iterator[socket.socket]:
    """What takes connections and never answers, as the kernel does for a process that is stopped."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening
    redis_silence.ask_always()


def connections(listening: socket.socket) -> int:
    number = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return number
        number += 1


def ask(listening: socket.socket, times: int) -> set[str]:
    said = set()
    for _ in range(times):  # a client each, as parts of a command have their own
        with connect(f"redis://127.0.0.1:{listening.getsockname()[1]}/0", 0.05) as client:
            with pytest.raises(redis.TimeoutError) as caught:
                client.ping()
            said.add(str(caught.value))
    return said


def test_who_looks_asks_once_and_hears_the_same_each_time(hung: socket.socket) -> None:
    redis_silence.ask_once()
    assert len(ask(hung, 3)) == 1
    assert connections(hung) == 1


def test_who_works_asks_each_time(hung: socket.socket) -> None:
    ask(hung, 3)
    assert connections(hung) == 3


def test_it_is_asked_again_after_a_while(hung: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    redis_silence.ask_once()
    ask(hung, 1)
    monkeypatch.setattr(redis_silence, "SILENT_FOR", 0.0)
    ask(hung, 1)
    assert connections(hung) == 2


def test_the_silence_of_one_server_is_not_anothers(hung: socket.socket, redis_url: str) -> None:
    redis_silence.ask_once()
    ask(hung, 1)
    with connect(redis_url) as client:
        assert client.ping()
