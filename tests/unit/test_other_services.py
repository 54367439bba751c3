"""The page that puts other services' names beside ours."""

import re
from pathlib import Path

import pytest

from ingest.copernica.events import EventType
from workers.store.tables import events

PAGES = [
    Path(__file__).parents[2] / "docs" / "how-to" / f"from-other-services{language}.md" for language in ("", ".nl")
]


def rows(page: Path, section: int) -> list[list[str]]:
    """The cells of the table in a section, below its head."""
    lines = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)[section].splitlines()
    table = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in table[1:]]


def ours(page: Path, section: int) -> list[str]:
    return [row[0].strip("`") for row in rows(page, section)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_type_of_event_stands_once_in_the_tables_and_no_other_does(page: Path) -> None:
    assert sorted(ours(page, 1) + ours(page, 3)) == sorted(EventType)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_field_is_a_column_of_events(page: Path) -> None:
    assert len(ours(page, 4)) > 10
    assert set(ours(page, 4)) <= set(events.columns.keys())


@pytest.mark.parametrize("section", [1, 2, 3, 4])
def test_both_languages_name_the_same(section: int) -> None:
    english, dutch = ([re.findall(r"`([^`]+)`", " ".join(row)) for row in rows(page, section)] for page in PAGES)
    assert english == dutch


def test_the_names_of_anymail_are_its_own() -> None:
    signals = pytest.importorskip("anymail.signals", reason="django-anymail is not installed")
    known = {value for name, value in vars(signals.EventType).items() if name.isupper()}
    named = {row[1].strip("`") for row in rows(PAGES[0], 1)} | {row[0].strip("`") for row in rows(PAGES[0], 2)}
    assert named <= known
    fields = {name for row in rows(PAGES[0], 4) for name in re.findall(r"`([^`]+)`", row[1])}
    assert fields <= set(vars(signals.AnymailTrackingEvent(event_type="opened")))
