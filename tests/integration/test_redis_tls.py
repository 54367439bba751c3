"""TLS to Redis by settings: every connection has it, and whatever is wrong with it is said with what helps."""

import datetime
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ingest.batch import Batch
from ingest.errors import RedisUnavailable, SettingsError, Unavailable
from ingest.redis_client import connect, connect_async, require
from ingest.settings import Settings
from ingest.stream.appends import Stream
from ingest.stream.consumer import Consumer
from tests.support.tls import Authority, tls_front


class Site:
    """Certificates, and a port with TLS for each kind of server."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.identity = self.authority.identity("localhost")
        self.ours = self.authority.identity("ours")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def port(site: Site, redis_url: str) -> Iterator[int]:
    with tls_front(redis_url.removeprefix("unix://"), site.identity) as port:
        yield port


def settings(port: int, tls: str = "", **environ: str) -> Settings:
    more = {"INGEST_REDIS_TLS": tls} if tls else {}
    return Settings.read({"REDIS_URL": f"rediss://127.0.0.1:{port}/0", **more, **environ})


def trouble(of: Settings) -> str:
    with connect(of.redis) as client, pytest.raises(Unavailable) as refused:
        require(client, of.redis)
    return str(refused.value)


def refusal(of: Settings) -> str:
    """What a start says, which does not wait for it to pass by itself."""
    with connect(of.redis) as client, pytest.raises(Unavailable) as refused:
        require(client, of.redis)
    assert not isinstance(refused.value, RedisUnavailable), refused.value
    return str(refused.value)


@pytest.mark.parametrize("mode", ["ca", "no-verify"])
async def test_every_kind_of_connection_has_what_the_settings_say(
    site: Site, port: int, client: redis.Redis, mode: str
) -> None:
    url = settings(port, f"ca:{site.authority.file}" if mode == "ca" else mode).redis
    with connect(url) as blocking:
        require(blocking, url)
        with blocking.pubsub() as channel:
            channel.subscribe("one")
            assert channel.get_message(timeout=5.0)
    async with connect_async(url) as endpoint:
        assert await endpoint.ping()
        stream = Stream(endpoint)
        await stream.append([Batch(b"1", 1)], 5)
        await stream.close()
    assert Consumer(client).batches() == 1


def test_a_certificate_that_nobody_knows_is_refused_with_what_helps(port: int) -> None:
    for tls in ("", "verify"):
        said = refusal(settings(port, tls))
        assert "cannot be used with TLS" in said
        assert "INGEST_REDIS_TLS=ca:/path/to/ca.pem" in said
        assert "INGEST_REDIS_TLS=no-verify" in said


@pytest.mark.parametrize(
    ("name", "ends", "remedy"),
    [
        ("another host", datetime.timedelta(days=1), "write the name that its certificate is for in REDIS_URL"),
        ("expired", -datetime.timedelta(days=1), "have its certificate renewed"),
    ],
)
def test_one_of_another_host_or_time_is_refused_with_what_helps(
    site: Site, redis_url: str, name: str, ends: datetime.timedelta, remedy: str
) -> None:
    identity = site.authority.identity(name, ends)
    with tls_front(redis_url.removeprefix("unix://"), identity) as port:
        assert remedy in refusal(settings(port, f"ca:{site.authority.file}"))
        plain = settings(port, "no-verify").redis
        with connect(plain) as client:
            require(client, plain)


def test_a_server_that_wants_a_certificate_gets_ours(site: Site, redis_url: str, tmp_path: Path) -> None:
    with tls_front(redis_url.removeprefix("unix://"), site.identity, clients=site.authority) as port:
        ca = f"ca:{site.authority.file}"
        assert "set INGEST_REDIS_CERT" in trouble(settings(port, ca))
        ours = {"INGEST_REDIS_CERT": str(site.ours.certificate), "INGEST_REDIS_KEY": str(site.ours.key)}
        url = settings(port, ca, **ours).redis
        with connect(url) as client:
            require(client, url)
        stranger = Authority(tmp_path).identity("stranger")
        theirs = {"INGEST_REDIS_CERT": str(stranger.certificate), "INGEST_REDIS_KEY": str(stranger.key)}
        assert "INGEST_REDIS_CERT" in trouble(settings(port, ca, **theirs))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_files_that_cannot_be_used_are_named(site: Site, port: int, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_text(content)
    assert "check INGEST_REDIS_TLS" in refusal(settings(port, f"ca:{file}"))
    said = refusal(settings(port, "no-verify", INGEST_REDIS_CERT=str(file)))
    assert "check INGEST_REDIS_CERT" in said


def test_a_port_without_tls_is_told_from_one_that_is_away() -> None:
    def answer(server: socket.socket) -> None:
        with server.accept()[0] as connection:
            connection.recv(10_000)
            connection.sendall(b"-ERR Protocol error\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answering = threading.Thread(target=answer, args=(server,))
        answering.start()
        assert "check that its port is the one for TLS" in refusal(settings(port))
        answering.join()
    url = settings(port).redis
    with connect(url) as client, pytest.raises(RedisUnavailable):
        require(client, url)


def test_a_port_that_waits_for_tls_is_told_to_who_speaks_none(port: int) -> None:
    url = f"redis://127.0.0.1:{port}"
    with connect(url) as client, pytest.raises(RedisUnavailable) as refused:
        require(client, url)
    assert "write rediss:// if it wants TLS" in str(refused.value)


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"INGEST_REDIS_TLS": "off"}, "INGEST_REDIS_TLS='off' cannot be used: write verify, no-verify, or ca:"),
        ({"INGEST_REDIS_TLS": "ca:"}, "INGEST_REDIS_TLS='ca:' cannot be used"),
        ({"INGEST_REDIS_KEY": "/key.pem"}, "INGEST_REDIS_KEY is set, but INGEST_REDIS_CERT is not"),
        ({"REDIS_TLS_URL": "localhost"}, "REDIS_TLS_URL cannot be used: write redis://"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(environ: dict[str, str], why: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.read({"REDIS_URL": "rediss://h", **environ})
    assert str(refused.value).startswith(why)
