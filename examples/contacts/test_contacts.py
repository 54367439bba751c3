"""The table of contacts, by the fixtures that come with the program: run `pytest` in this folder."""

import sqlite3
from contextlib import closing
from pathlib import Path

import contacts
import pytest

from ingest import testing


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the handler writes to."""
    path = tmp_path / "contacts.db"
    monkeypatch.setenv("CONTACTS_DB", str(path))
    return path


def rows(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT address, opens, clicks, bounced FROM contacts ORDER BY address"
        ).fetchall()


def test_a_contact_is_who_opened_and_clicked(copernica: testing.Workbench, table: Path) -> None:
    copernica.use(contacts)
    jan = "Jan@example.nl"
    copernica.give(testing.open(recipient=jan), testing.open(recipient=jan), testing.click(recipient=jan))
    copernica.give(testing.failure(recipient="weg@example.nl"))
    assert rows(table) == [("jan@example.nl", 2, 1, 0), ("weg@example.nl", 0, 0, 1)]


def test_an_event_that_comes_twice_counts_once(copernica: testing.Workbench, table: Path) -> None:
    copernica.use(contacts)
    click = testing.click(recipient="jan@example.nl")
    copernica.give(click)
    copernica.give_again(click)  # as after a worker was killed
    assert rows(table) == [("jan@example.nl", 0, 1, 0)]
    assert len(copernica.calls) == 2


def test_what_a_locked_database_refuses_comes_again(
    copernica: testing.Workbench, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copernica.use(contacts)
    with monkeypatch.context() as patched:
        patched.setenv("CONTACTS_DB", str(table / "not" / "there.db"))
        with pytest.raises(sqlite3.OperationalError):
            copernica.give(testing.click(recipient="jan@example.nl"))
    (waiting,) = copernica.waiting
    assert waiting.seconds == 5
    copernica.advance(seconds=5)
    assert rows(table) == [("jan@example.nl", 0, 1, 0)]


def test_events_without_a_recipient_are_left_out(copernica: testing.Workbench) -> None:
    copernica.use(contacts)
    assert copernica.give(testing.open(recipient=None)).unwanted == 1
