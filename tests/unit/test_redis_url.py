"""`REDIS_URL`: what is understood, what is left out, and what is refused in one sentence."""

from typing import Any

import pytest

from ingest.errors import SettingsError
from ingest.redis_client import ANSWER_TIMEOUT, connect, connect_async
from ingest.redis_url import OURS, RedisURL
from ingest.settings import Settings


def arguments(url: str) -> dict[str, Any]:
    """What a connection is made with, once it is clear that it can be made, blocking or not."""
    pools = connect(url).connection_pool, connect_async(url).connection_pool
    for pool in pools:
        pool.make_connection()
    shared = ("host", "port", "path", "db", "username", "password", "client_name", "decode_responses", "protocol")
    blocking, asynchronous = ({name: pool.connection_kwargs.get(name) for name in shared} for pool in pools)
    assert blocking == asynchronous
    return dict(pools[0].connection_kwargs)


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("redis://h", {"host": "h"}),
        (" redis://h:7/3\n", {"host": "h", "port": 7, "db": 3}),
        ("redis://h?db=4", {"db": 4}),
        ("redis://:p@h/3?db=4", {"db": 4, "password": "p"}),
        ("REDIS://h", {"host": "h"}),
        ("redis://u:p%40%2F%23%3F%25@h", {"username": "u", "password": "p@/#?%"}),
        ("redis://u:p@q@h", {"password": "p@q"}),
        ("redis://h?username=u&password=p%40q", {"username": "u", "password": "p@q"}),
        ("redis://[::1]:7/", {"host": "::1", "port": 7}),
        ("redis://", {}),
        ("redis:///2", {"db": 2}),
        ("redis://h?socket_keepalive=no&client_name=web", {"socket_keepalive": False, "client_name": "web"}),
        ("rediss://h?ssl_cert_reqs=CERT_NONE&ssl_check_hostname=0", {"ssl_cert_reqs": "none"}),
        ("rediss://h?ssl_min_version=1.3", {"ssl_min_version": 772}),
        ("rediss://h?ssl_ca_certs=/a%20b.pem&ssl_ciphers=HIGH", {"ssl_ca_certs": "/a b.pem"}),
        ("unix:///run/a%20b.sock?db=2&password=p", {"path": "/run/a b.sock", "db": 2, "password": "p"}),
        ("unix://u:p@/run/x.sock", {"path": "/run/x.sock", "username": "u", "password": "p"}),
        ("unix:///run/a@b.sock", {"path": "/run/a@b.sock"}),
    ],
)
def test_options_mean_what_they_mean_to_redis_py(url: str, given: dict[str, Any]) -> None:
    made = arguments(url)
    assert {name: made[name] for name in given} == given


@pytest.mark.parametrize("scheme", ["redis://h", "rediss://h", "unix:///run/x.sock"])
def test_options_that_are_ours_change_nothing_and_are_told(scheme: str) -> None:
    url = scheme + "?" + "&".join(f"{name}=1" for name in sorted(OURS))
    assert RedisURL.read(url) == RedisURL(scheme, tuple(sorted(OURS)))
    plain, given = arguments(scheme), arguments(url)
    assert given.keys() == plain.keys()
    assert {name for name in OURS & given.keys() if given[name] != plain[name]} == set()
    assert connect(url).connection_pool.connection_kwargs["socket_timeout"] == ANSWER_TIMEOUT


@pytest.mark.parametrize(
    "url", ["redis://h?decode_responses=true&encoding=latin-1&protocol=3&encoding_errors=ignore"]
)
def test_answers_are_bytes_whatever_the_url_says(url: str) -> None:
    pool = connect(url).connection_pool
    assert not pool.get_encoder().decode_responses
    assert pool.get_encoder().encoding == "utf-8"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:6379", "write redis://host:6379/0"),
        ("http://h", "write redis://host:6379/0"),
        ("redis:/h", "write redis://host:6379/0"),
        ("redis-sentinel://h/m", "write redis://host:6379/0"),
        ("redis+sentinel://h", "behind its hosts should be the primary's name"),
        ("redis+sentinel://h/my%20master", "behind its hosts should be the primary's name"),
        ("redis+sentinel://h/m/geheim", "behind its hosts should be the primary's name"),
        ("redis+sentinel://h:geheim/m", "its host or its port cannot be read"),
        ("redis+sentinel://u:p@h1,/m", "its host or its port cannot be read"),
        ("redis+sentinel:///m", "its host or its port cannot be read"),
        ("redis+sentinel://h/m?ssl_ca_certs=x", "its option ssl_ca_certs is for TLS: write rediss+sentinel://"),
        ("redis+sentinel://h/m?sentinel_tls=geheim", "its option sentinel_tls should be True or False"),
        ("redis://h/0?sentinel_password=geheim", "its option sentinel_password is unknown"),
        ("redis://h?family=0", "its option family is unknown; known are "),
        ("redis://h?connection_class=x", "its option connection_class is unknown"),
        ("redis://h?ssl=true", "its option ssl is unknown"),
        ("redis://h?geheim", "its option is unknown"),
        ("redis://h?ssl_cert_reqs=none", "its option ssl_cert_reqs is for TLS: write rediss://"),
        ("unix:///x?socket_keepalive=1", "its option socket_keepalive is unknown"),
        ("rediss://h?ssl_cert_reqs=geheim", "its option ssl_cert_reqs should be required, optional or none"),
        ("rediss://h?ssl_min_version=9", "its option ssl_min_version should be 1.2 or 1.3"),
        ("rediss://h?ssl_check_hostname=geheim", "its option ssl_check_hostname should be True or False"),
        ("rediss://h?ssl_include_verify_flags=geheim", "its option ssl_include_verify_flags should be names"),
        ("redis://h?db=geheim", "its option db should be a number"),
        ("redis://h?db=-1", "its option db should be a number"),
        ("redis://h?client_name=a%20b", "its option client_name should be one word"),
        ("redis://h/geheim", "what follows its host should be the number of a database"),
        ("redis://h/1/2", "what follows its host should be the number of a database"),
        ("redis://:6379", "its host is missing"),
        ("redis://h:port", "its host or its port cannot be read"),
        ("redis://[::1", "its host or its port cannot be read"),
        ("redis://:p\uff0fgeheim@h", "its host or its port cannot be read"),
        ("redis://h1:1,h2:2", "its host or its port cannot be read; several hosts are for Sentinels"),
        ("redis://:a/geheim@h", "its host or its port cannot be read; in a password write %2F for /"),
        ("redis://u:1/geheim@h", "in a password write %2F for /"),
        ("redis://u:1?geheim@h", "in a password write %2F for /"),
        ("redis://u:1#geheim@h", "in a password write %2F for /"),
        ("redis://h#geheim", "in a password write %2F for /"),
        ("redis://:ge\x1bheim@h", "in a password write %2F for /"),
        ("unix://run/x.sock", "write the socket's whole path"),
        ("unix://", "write the socket's whole path"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(url: str, why: str) -> None:
    for use in (lambda: Settings.read({"REDIS_URL": url}), lambda: connect(url), lambda: connect_async(url)):
        with pytest.raises(SettingsError) as refused:
            use()
        assert str(refused.value).startswith(f"REDIS_URL cannot be used: {why}")
        assert "geheim" not in str(refused.value)


TLS = "ssl_cert_reqs=none"


@pytest.mark.parametrize(
    ("url", "primary", "sentinels"),
    [
        ("redis+sentinel://h/m", "redis://m", ["redis://h:26379"]),
        (
            "redis+sentinel://u:p%2F@h1:1,[::1]:2,h3/my.master-1/7",
            "redis://u:p%2F@my.master-1/7",
            ["redis://h1:1", "redis://[::1]:2", "redis://h3:26379"],
        ),
        (
            "REDIS+sentinel://:p@h/m/?sentinel_username=u&sentinel_password=q%40&client_name=web",
            "redis://:p@m?client_name=web",
            ["redis://h:26379?password=q%40&username=u"],
        ),
        (f"rediss+sentinel://h/m?{TLS}", f"rediss://m?{TLS}", [f"rediss://h:26379?{TLS}"]),
        (f"rediss+sentinel://h/m?{TLS}&sentinel_tls=no", f"rediss://m?{TLS}", ["redis://h:26379"]),
    ],
)
def test_sentinels_are_told_from_the_primary(url: str, primary: str, sentinels: list[str]) -> None:
    read = RedisURL.read(url)
    assert read.url == primary
    assert read.sentinels is not None
    assert list(read.sentinels.urls) == sentinels
    for pool in (connect(url).connection_pool, connect_async(url).connection_pool):
        pool.make_connection()


def redis_of(**environ: str) -> str:
    return Settings.read({name: value for name, value in environ.items() if value}).redis


@pytest.mark.parametrize(
    ("url", "tls_url", "used"),
    [
        ("", "rediss://h:7", "rediss://h:7"),
        ("redis://:p@H:6", "rediss://:p@h:7", "rediss://:p@h:7"),
        ("redis://other:6", "rediss://h:7", "redis://other:6"),
        ("rediss://h:6", "rediss://h:7", "rediss://h:6"),
        ("redis://h:6", "redis://h:7", "redis://h:6"),
    ],
)
def test_the_same_server_with_tls_is_preferred(url: str, tls_url: str, used: str) -> None:
    assert redis_of(REDIS_URL=url, REDIS_TLS_URL=tls_url) == used


@pytest.mark.parametrize("scheme", ["rediss", "rediss+sentinel"])
@pytest.mark.parametrize(
    ("tls", "options"),
    [
        ("verify", "ssl_cert_reqs=required"),
        ("no-verify", "ssl_cert_reqs=none"),
        ("ca:/a b.pem", "ssl_cert_reqs=required&ssl_ca_certs=%2Fa%20b.pem"),
    ],
)
def test_a_setting_takes_the_place_of_an_option(scheme: str, tls: str, options: str) -> None:
    url = f"{scheme}://:p@h/m" if "sentinel" in scheme else "rediss://:p@h/1"
    given = f"{url}?ssl_cert_reqs=optional&socket_keepalive=no"
    meant = f"{url}?socket_keepalive=no&{options}"
    once = redis_of(REDIS_URL=given, INGEST_REDIS_TLS=tls)
    assert once == meant
    assert redis_of(REDIS_URL=once, INGEST_REDIS_TLS=tls) == meant
    assert redis_of(REDIS_URL="redis://h", INGEST_REDIS_TLS=tls) == "redis://h"
