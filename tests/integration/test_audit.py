"""Who did what is written down, whatever comes of it."""

from contextlib import suppress

import pytest
from click.exceptions import Exit

from ingest.cli.audit import noted as command
from ingest.errors import SettingsError, Unavailable
from ingest.settings import Settings
from workers.operations.audit import CONSOLE, LONGEST, entries, noted
from workers.store.schema import upgrade
from workers.store.store import Store


def test_what_was_done_is_written_down_with_how_many_that_were(store: Store) -> None:
    assert noted(store, "jan", CONSOLE, "retry", {"handler": "a", "text": "é\x00"}, lambda: 3) == 3
    (entry,) = entries(store, 10)
    assert (entry.who, entry.via, entry.action, entry.affected, entry.error) == ("jan", CONSOLE, "retry", 3, None)
    assert entry.what["handler"] == "a"
    assert entry.ended_at is not None
    assert entry.ended_at >= entry.began_at


def test_what_failed_is_written_down_too(store: Store) -> None:
    def fail() -> int:
        raise Unavailable("Redis is away.")

    with pytest.raises(Unavailable):
        noted(store, "jan", CONSOLE, "pause", {}, fail)
    assert [one.error for one in entries(store, 10)] == ["Redis is away."]


def test_older_entries_follow_page_by_page(store: Store) -> None:
    for number in range(5):
        noted(store, "jan", CONSOLE, str(number), {}, lambda: None)
    first = entries(store, 2)
    assert [one.action for one in first] == ["4", "3"]
    assert [one.action for one in entries(store, 2, first[-1].number)] == ["2", "1"]


def test_no_half_of_an_address_is_kept_where_a_text_is_cut(store: Store) -> None:
    long = ("jan.jansen+nieuwsbrief-van-vandaag@voorbeeld.example.nl," * 200)[
        : 4 * LONGEST - 30
    ] + ",piet.pietersen"
    noted(store, "jan", CONSOLE, "find", {"text": long + "x" * 30 + "@example.nl"}, lambda: 1)
    (entry,) = entries(store, 1)
    assert "piet" not in str(entry.what)
    assert "jansen" not in str(entry.what)


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (Exit(143), "interrupted"),
        (Exit(1), "not all of it"),
        (SystemExit(1), "not all of it"),
        (Exit(0), None),
        (SettingsError("No."), "No."),
    ],
)
def test_how_a_command_ended_is_written_as_a_person_would(
    sqlite_url: str, ending: BaseException, why: str | None
) -> None:
    upgrade(sqlite_url)
    with suppress(type(ending)), command(Settings.read({"DATABASE_URL": sqlite_url}), "erase", {}):
        raise ending
    with Store.open(sqlite_url) as used:
        (entry,) = entries(used, 1)
    assert (entry.ended_at is not None, entry.error) == (True, why)
