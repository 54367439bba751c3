"""docs/privacy.md leaves out nothing that may have data of people in it, and its Dutch twin says the same."""

import re
from pathlib import Path

import pytest

import workers.store.mailing_tables  # noqa: F401  # whose tables are among all, too
from ingest.stream.keys import Keys
from tests.support.source import ROOT
from workers.store.console_tables import metadata
from workers.store.sqlite_tables import sqlite_metadata
from workers.store.tables import alembic_metadata

DOCS = ROOT / "docs"
PAGES = [DOCS / "privacy.md", DOCS / "privacy.nl.md"]
#: Keys of Redis that may have something of people in them; whoever adds a key says here whether it may.
PERSONAL = {"stream", "dead", "refusals", "alerts", "told", "exported"}
IMPERSONAL = {
    "away", "breaker", "bucket", "catch-up", "clock", "closed", "counts", "coverage", "daily", "export", "gaps",
    "hand-on", "handler", "handlers", "handoffs", "known-keys", "looked", "lookout", "mailings", "mark", "paused",
    "probe", "reconcile", "reports", "rests", "stored", "streams", "suspects", "trial", "turns", "unknown-jobs",
    "unverified", "verify", "waits", "wake",
}  # fmt: skip  # a list to be read across
TWINS = ["privacy", "how-to/pseudonymise"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_is_said_to_have_data_of_people_or_none(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tables = {*metadata.tables, *sqlite_metadata.tables, *alembic_metadata.tables}
    assert sorted(name for name in tables if f"`{name}`" not in text) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_and_kind_of_file_that_may_have_data_of_people_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert sorted(key for key in PERSONAL if f"`ingest:{{0}}:{key}" not in text) == []
    on_disk = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## What is kept on disk")[2]
    files = [
        file for row in on_disk.splitlines() for file in re.findall(r"`(data/[^`]*)`", row.partition(" | ")[0])
    ]
    assert len(files) > 5
    assert [file for file in files if f"`{file}`" not in text] == []


def test_of_every_key_it_is_known_whether_it_may_have_data_of_people() -> None:
    words = {word for name in vars(Keys()).values() for word in name.split(":")[2:] if word}
    assert words - PERSONAL - IMPERSONAL == set()


@pytest.mark.parametrize("name", TWINS)
def test_a_page_and_its_dutch_twin_have_the_same_headings_rows_and_commands(name: str) -> None:
    english, dutch = ((DOCS / f"{name}{end}").read_text(encoding="utf-8") for end in (".md", ".nl.md"))

    def shape(text: str) -> tuple[list[str], list[str], list[str]]:
        blocks = re.findall(r"^ *```\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
        outside = re.sub(r"^ *```\n.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
        headings = re.findall(r"^(#+) ", outside, re.MULTILINE)
        commands = [block for block in blocks if "ingest" in block or "INGEST_" in block or "openssl" in block]
        return headings, [one for one in commands if "[" not in one], re.findall(r"^\| `", outside, re.MULTILINE)

    assert shape(english) == shape(dutch)
