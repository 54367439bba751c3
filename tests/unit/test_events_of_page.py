"""The page on `ingest events-of --json` says what the program prints."""

import re
from collections import Counter
from datetime import date
from pathlib import Path

from workers.smtpeter.answers import Asked
from workers.smtpeter.events_of import Comparison

PAGE = (Path(__file__).parents[2] / "docs" / "events-of.md").read_text()


def test_each_field_is_described_and_no_other() -> None:
    printed = Comparison(told=Counter(open=1)).as_dict([Asked(date(2026, 11, 1), date(2026, 11, 21))])
    tables = re.findall(r"^\| field \|[^\n]*\n\|[-|]+\n((?:\|[^\n]+\n)+)", PAGE, re.MULTILINE)
    names = [re.findall(r"^\| `(\w+)`", table, re.MULTILINE) for table in tables]
    assert names == [["in_store"], list(printed), list(printed["types"]["open"])]
    assert all(f"`{name}`" in PAGE for name in printed["asked"][0])
