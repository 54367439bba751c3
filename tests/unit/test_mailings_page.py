"""The page on `ingest mailings --json` says what the program prints."""

import re

from tests.support.source import ROOT
from workers.mailings.figures import Figures, Numbers
from workers.mailings.listing import Listed
from workers.mailings.names import Name

PAGE = (ROOT / "docs" / "mailings.md").read_text()
NAME = Name("ms", "Winter", 4, "2026-11-20 09:00:00", 100)
FIGURES = Figures(7, {"open": Numbers(3, 2)}, {"open": {"2026-11-20 09": 3}}, names=[NAME])
LISTED = Listed(7, "2026-11-20 09", "2026-11-20 10", {"open": Numbers(3, 2)}, [NAME], 1)


def test_each_field_is_described_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\|[^|]+\| (yes|no) \|", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == list(FIGURES.as_dict())
    assert [name for name, listed in rows if listed == "yes"] == list(LISTED.as_dict())
    for name in (*NAME.as_dict(), *FIGURES.as_dict()["events"]["open"]):
        assert f"`{name}`" in PAGE
