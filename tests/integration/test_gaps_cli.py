"""`ingest gaps`: what people and scripts see, and what its page says of the JSON."""

import re

import orjson
import pytest
import redis

from ingest.stream.coverage import ANSWERED_503, COVERED, STOPPED, Coverage, Statement
from tests.support.cli import typed
from tests.support.gaps import documented
from workers.gaps.gap import Cause, Cut, State
from workers.store.store import Store

#: µs since 1970.
NINE = 1_795_165_200_000_000
SECOND = 1_000_000
NO_REDIS = {"REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def environ(redis_url: str, database: str) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "DATABASE_URL": database, "COLUMNS": "120"}


def said(client: redis.Redis) -> None:
    """An endpoint stopped a while ago, having lost some calls; another one runs since."""
    coverage = Coverage(client)
    now = coverage.time()
    hour = 3600 * SECOND
    coverage.state(
        [
            Statement("web:1", COVERED, now - hour, now - hour // 2, 0, hour // 2, ended=STOPPED, at=now),
            Statement("web:1/503", ANSWERED_503, now - hour + 9, now - hour + SECOND, 0, 0, calls=7, at=now),
            Statement("web:2", COVERED, now - hour // 3, now, 0, hour // 3, at=now),
        ]
    )


def test_the_table_says_when_why_and_what_became_of_it(
    environ: dict[str, str], client: redis.Redis, store: Store
) -> None:
    assert (
        typed("gaps", environ=environ).stdout == "No gap is known: no endpoint has run yet that tells of them.\n"
    )
    said(client)
    shown = typed("gaps", "--tz", "Europe/Amsterdam", environ=environ)
    assert shown.exit_code == 0
    head, lost, away = shown.stdout.splitlines()
    assert head.split() == ["since", "Europe/Amsterdam", "lasts", "cause", "state", "details"]
    assert re.search(r"\+01:00  1.0 s +answered-503   ended +7 calls$", lost)
    assert re.search(r"  10 min +no-endpoint +ended +it was stopped$", away)
    assert (
        typed("gaps", "--since", "40m", environ=environ).stdout.splitlines()[1:]
        == typed("gaps", environ=environ).stdout.splitlines()[2:]
    )


def test_the_json_has_the_documented_fields(environ: dict[str, str], client: redis.Redis, store: Store) -> None:
    said(client)
    printed = orjson.loads(typed("gaps", "--json", environ=environ).stdout)
    whole, one, _ = documented()
    assert printed.keys() == whole
    assert all(gap.keys() == one for gap in printed["gaps"])
    lost, away = printed["gaps"]
    assert (lost["cause"], lost["calls"], away["ended"], away["seconds"]) == ("answered-503", 7, "stopped", 600.0)


def test_what_is_closed_can_be_left_out(environ: dict[str, str], store: Store) -> None:
    with store.writing() as connection:
        for since, state in ((0, State.CLOSED), (9, State.CANNOT_BE_CLOSED)):
            row = Cut(NINE + since * SECOND, Cause.NO_ENDPOINT, NINE + (since + 5) * SECOND, state, NINE)
            row.turned(state, NINE, by="results").put(store, connection)
    assert len(orjson.loads(typed("gaps", "--json", environ=environ).stdout)["gaps"]) == 2
    (left,) = orjson.loads(typed("gaps", "--json", "--unclosed", environ=environ).stdout)["gaps"]
    assert left["state"] == "cannot-be-closed"


def test_why_a_gap_is_not_closed_can_be_read_whole_on_80_columns(environ: dict[str, str], store: Store) -> None:
    reason = (
        "Copernica does not let this token read results: give it that right in the dashboard, or make another."
    )
    with store.writing() as connection:
        row = Cut(NINE, Cause.NO_ENDPOINT, NINE + 5 * SECOND, State.ENDED, NINE)
        row.turned(State.ENDED, NINE, error=reason, retry_at=NINE + 60 * SECOND).put(store, connection)
    shown = typed("gaps", "--tz", "Europe/Amsterdam", environ={**environ, **NO_REDIS, "COLUMNS": "80"}).stdout
    assert f"tried again at 2026-11-20T10:01:00+01:00, {reason}" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80


def test_without_redis_what_is_known_is_shown_and_that_it_may_be_outdated(
    environ: dict[str, str], store: Store
) -> None:
    shown = typed("gaps", environ={**environ, **NO_REDIS})
    assert shown.exit_code == 0
    assert "may be outdated" in shown.stderr
