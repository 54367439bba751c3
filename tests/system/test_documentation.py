"""What the documentation has a reader type, typed: nothing fails, and what it shows is what is printed."""

import shutil
from pathlib import Path

import pytest

from tests.support.pages import DOCS, ROOT, blocks
from tests.support.reader import Reader

README, START = ROOT / "README.md", DOCS / "start.md"
#: What is done with an installation that is there.
LATER = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if page != START and ".nl." not in page.name and any(block.purpose for block in blocks(page))
]
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="NOT TESTED: there is no curl here")
#: Where newcomers begin. They share the later pages, since one alone takes minutes after all other tests.
FIRST = [README, pytest.param(START, marks=needs_curl)]


def test_pages_are_read_that_say_what_to_type() -> None:
    names = {page.name for page in LATER}
    assert names >= {"read-events.md", "recover.md", "handlers.md", "erase.md", "operations.md"}


@pytest.mark.timeout(1800)  # pages one after the other, each with calls of its own
@pytest.mark.parametrize("first", FIRST, ids=lambda page: page.name)
def test_a_newcomer_can_type_how_to_start_and_then_any_other_page(tmp_path: Path, first: Path) -> None:
    others = LATER[first == START :: len(FIRST)]
    with Reader(tmp_path) as reader:
        for page in (first, *others):
            assert reader.follow(page), page
