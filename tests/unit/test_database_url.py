"""`DATABASE_URL`: read as SQLAlchemy reads it, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

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
