"""`DATABASE_URL`: read as SQLAlchemy reads it, or refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from ingest.errors import SettingsError
from ingest.settings import Settings


def read(url: str) -> str:
    return Settings.read({"DATABASE_URL": url}).database


@given(st.text(st.sampled_from("aZ9/?#:&=+[] ;,'é%"), min_size=1))
def test_a_password_may_hold_every_sign_but_the_one_that_ends_it(password: str) -> None:
    url = f"postgresql://user:{password}@host:5432/events?sslmode=require"
    meant, parsed = make_url(url), make_url(read(url))
    assert (parsed.username, parsed.password) == (meant.username, meant.password)
    assert (parsed.host, parsed.port, parsed.database) == ("host", 5432, "events")
    assert parsed.query == {"sslmode": "require"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:gehe@im@h/d",
        "postgresql://u:gehe@im/x@h/d",
        "postgresql://u:gehe@im?x@h/d",
        "postgresql://u:gehe@im:1@h/d",
        "postgresql://u:geheim@h:port/d",
        "postgresql://u:gehe\x1bim@h/d",
        "postgresql://h/d?user=u@h&password=geheim",
    ],
)
def test_a_password_whose_end_is_not_clear_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(url)
    assert str(refused.value).startswith("DATABASE_URL cannot be used: its parts cannot be told apart; ")
    assert "geh" not in str(refused.value)
    assert "im" not in str(refused.value).replace("times", "")


@pytest.mark.parametrize(
    ("url", "read_as"),
    [
        ("mysql://u:p@h/d", "mysql://u:p@h/d"),
        ("mariadb+pymysql://u:p@h:3307/d", "mysql://u:p@h:3307/d"),
        # As Symfony and Laravel write it, and hosts of databases.
        ("mysql://u:!x!@h/d?serverVersion=10.11.2-MariaDB&charset=utf8mb4", "mysql://u:%21x%21@h/d"),
        ("mysql://u:p@h/d?ssl-mode=required", "mysql://u:p@h/d?ssl_mode=REQUIRED"),
        ("mariadb://u@localhost/d?unix_socket=/run/x.sock", "mysql://u@localhost/d?unix_socket=/run/x.sock"),
    ],
)
def test_a_url_of_mariadb_is_read_as_others_write_it(url: str, read_as: str) -> None:
    assert read(url) == read_as


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:geheim@h", "names no database"),
        ("mysql://u:geheim@h/", "names no database"),
        ("mysql:///d", "names no host"),
        ("mysql://u:geheim@a,b/d", "names several hosts"),
        ("mysql://u:geheim@h/d?password=geheim", "an option that is none of ssl_ca"),
        ("mysql://u:geheim@h/d?ssl_mode=geheim", "its ssl_mode is none of DISABLED"),
        ("mysql://u:gehe@im@h/d", "parts cannot be told apart"),
    ],
)
def test_a_url_of_mariadb_that_is_not_clear_is_refused_and_not_shown(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        read(url)
    assert "geh" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgres://u@corp:p@h/d", ("u@corp", "p", "h")),
        ("postgresql+psycopg://u:@[::1]:1/d", ("u", "", "::1")),
        ("postgresql:///d?host=/run/postgresql", (None, None, None)),
    ],
)
def test_the_other_ways_to_write_it_mean_what_they_meant(url: str, place: tuple[str | None, ...]) -> None:
    parsed = make_url(read(url))
    assert (parsed.username, parsed.password, parsed.host) == place


def asked(url: str) -> dict[str, Any]:
    """What the driver is called with."""
    dialect: Any = PGDialect_psycopg
    given: dict[str, Any] = dialect().create_connect_args(make_url(url))[1]
    return given


HOSTS = st.sampled_from(["db-1", "db.example.nl", "10.0.0.1", "localhost"])
PORTS = st.sampled_from(["", ":1", ":5432", ":65535"])


@given(st.lists(st.tuples(HOSTS, PORTS), min_size=2, max_size=4), st.sampled_from(["", "u@", "u:p@", "u:a,b/c@"]))
def test_several_hosts_are_those_that_libpq_asks(places: list[tuple[str, str]], userinfo: str) -> None:
    listed = ",".join(host + port for host, port in places)
    url = read(f"postgresql://{userinfo}{listed}/events?target_session_attrs=read-write")
    given = asked(url)
    assert given["host"].split(",") == [host for host, _ in places]
    assert given["port"].split(",") == [port.removeprefix(":") for _, port in places]
    assert given["target_session_attrs"] == "read-write"
    assert (given["dbname"], given.get("user")) == ("events", userinfo[:1] or None)
    assert given.get("password") == ({"u:p@": "p", "u:a,b/c@": "a,b/c"}.get(userinfo))
    assert read(url) == url
    assert Settings.read({"DATABASE_URL": url}).shown_database == f"postgresql://{listed}/events"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://[::1]:5,[2001:db8::1]/d", "::1,2001:db8::1"),
        ("postgres://h1,h2", "h1,h2"),
        ("postgresql:///d?host=/run/a,/run/b", "/run/a,/run/b"),
    ],
)
def test_the_other_ways_to_write_several_hosts_mean_the_same(url: str, hosts: str) -> None:
    assert asked(read(url))["host"] == hosts


@pytest.mark.parametrize("url", ["postgresql://h1,h2/d?host=h3", "postgresql://h1:1,h2/d?sslmode=require&port=5"])
def test_hosts_in_two_places_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="it names hosts in two places"):
        read(url)
