"""The Dutch pages say what the English ones do: the same headings, and the same blocks of code."""

import re
from pathlib import Path

import pytest

from tests.support.pages import DOCS, ROOT, blocks, headings, lacking, without_blocks

#: What is there in both languages: start, concepts, how-to, hosts, runbook and glossary.
ENGLISH = [
    ROOT / "README.md",
    DOCS / "start.md",
    DOCS / "concepts.md",
    *sorted(page for page in (DOCS / "how-to").glob("*.md") if ".nl." not in page.name),
    *sorted(page for page in (DOCS / "hosts").glob("*.md") if ".nl." not in page.name),
    DOCS / "runbook.md",
    *(DOCS / f"{name}.md" for name in ("operations", "gaps", "console", "export")),  # where these lead
    DOCS / "glossary.md",
]
#: All that have a Dutch page, whether they must or not.
TRANSLATED = sorted(
    page.with_name(page.name.replace(".nl.", ".")) for page in (*ROOT.glob("*.nl.md"), *DOCS.rglob("*.nl.md"))
)
#: All that there are, in all languages.
PAGES = sorted(
    page.relative_to(ROOT)
    for page in (
        *ROOT.glob("*.md"),
        *(found for name in ("docs", "examples", "tests") for found in (ROOT / name).rglob("*.md")),
    )
)
#: Pages that nobody has translated yet.
UNTRANSLATED: set[str] = set()


def name(page: Path) -> str:
    return str(page.relative_to(DOCS) if page.is_relative_to(DOCS) else page.relative_to(ROOT))


def dutch(page: Path) -> Path:
    return page.with_suffix(".nl.md")


def test_every_page_is_there_in_dutch_but_those_that_wait_for_it() -> None:
    assert {name(page) for page in ENGLISH if not dutch(page).exists()} == UNTRANSLATED
    assert [page for page in TRANSLATED if not page.exists()] == []


@pytest.mark.parametrize("page", [page for page in TRANSLATED if page.name != "privacy.md"], ids=name)
def test_both_languages_have_the_same_headings_and_code(page: Path) -> None:
    """But for the record of processing, which is to be copied in one's language; `test_privacy.py` reads it."""
    assert headings(dutch(page)) == headings(page)
    assert [block[1:] for block in blocks(dutch(page))] == [block[1:] for block in blocks(page)]


def test_the_readme_in_dutch_leads_to_pages_in_dutch_where_there_are_any() -> None:
    readme = ROOT / "README.nl.md"
    linked = {ROOT / name for name in re.findall(r"\]\(([^)#:]+\.md)", readme.read_text("utf-8"))} - {
        ROOT / "README.md"
    }
    assert DOCS / "start.nl.md" in linked
    assert [page for page in sorted(linked) if not page.exists() or dutch(page).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_of_code_is_read_with_what_it_is_for(page: Path) -> None:
    """What a page says of a block in a way that nothing reads would never be run."""
    prose = without_blocks(ROOT / page)
    assert re.findall(r"^ *(?:```|~~~|<!-- ?(?:run|file)\b).*$", prose, re.MULTILINE) == []


def test_numbers_and_times_may_differ_from_what_a_page_shows_and_words_may_not() -> None:
    shown = ["stored      10,001 events", "worker      b26edf28 on events: idle"]
    printed = "stored  3 events\nquarantine  0 calls\nworker 0badcafe on events: idle\n"
    assert lacking(shown, printed) is None
    assert lacking(shown, printed.replace("idle", "busy")) == shown[1]
    assert lacking(list(reversed(shown)), printed) == shown[0]
    assert lacking(["stored …"], printed) is None


def test_the_readme_is_a_page_and_no_book() -> None:
    for page in (ROOT / "README.md", ROOT / "README.nl.md"):
        assert len(page.read_text().splitlines()) <= 130
