"""What the documentation has a reader type, typed: nothing fails, and what it shows is what is printed."""

import shutil
from pathlib import Path

import pytest

from tests.support.pages import DOCS, ROOT, blocks
from tests.support.reader import Reader

#: From nothing to one's own code.
FIRST = (ROOT / "README.md", DOCS / "start.md")
#: What is done with an installation that is there; `start.md` comes before each.
LATER = [page for page in sorted(DOCS.rglob("*.md")) if page not in FIRST and ".nl." not in page.name]

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="NOT TESTED: there is no curl here")


@needs_curl
@pytest.mark.parametrize("page", FIRST, ids=lambda page: page.name)
def test_a_newcomer_can_type_what_the_page_says(page: Path, tmp_path: Path) -> None:
    with Reader(tmp_path) as reader:
        assert reader.follow(page) > 1


@needs_curl
@pytest.mark.timeout(900)  # all pages one after the other, each with a mailing's worth of calls
def test_what_later_pages_say_works_after_the_start(tmp_path: Path) -> None:
    runnable = [page for page in LATER if any(block.purpose for block in blocks(page))]
    names = {page.name for page in runnable}
    assert names >= {"read-events.md", "recover.md", "handlers.md", "erase.md", "operations.md"}
    with Reader(tmp_path) as reader:
        reader.follow(DOCS / "start.md")
        for page in runnable:
            reader.follow(page)
