"""The tests of this folder run twice: with a real server, and with fakeredis, which unit tests use."""

from collections.abc import Iterator

import fakeredis
import pytest
import redis


@pytest.fixture(params=["fakeredis", "valkey"])
def server(request: pytest.FixtureRequest) -> fakeredis.FakeServer | str:
    """A fake one, or the URL of the real one; empty."""
    if request.param == "fakeredis":
        return fakeredis.FakeServer(version=(8,), server_type="valkey")
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture
def only_real(server: fakeredis.FakeServer | str) -> None:
    """For what fakeredis does otherwise; a comment at the test says what that is."""
    if isinstance(server, fakeredis.FakeServer):
        pytest.skip("fakeredis differs here: see the test")


@pytest.fixture
def client(server: fakeredis.FakeServer | str) -> Iterator[redis.Redis]:
    if isinstance(server, str):
        with redis.Redis.from_url(server) as client:
            yield client
    else:
        with fakeredis.FakeRedis(server=server) as client:
            yield client
