"""What the page on totals says is what the program does."""

import re
from datetime import date
from pathlib import Path

from ingest.copernica.event_types import EventType
from workers.totals.report import ACCOUNTING, Cause, DayTotals, Line, Number

PAGE = (Path(__file__).parents[2] / "docs" / "totals.md").read_text()
DAY = DayTotals(date(2026, 11, 20), [Line("ms", 77, EventType.OPEN, Number(2, 1), Number(1, 1))])


def test_each_cause_is_described_as_it_is_shown() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert [(code, text) for code, text, _ in rows] == [(cause.value, cause.text) for cause in Cause]
    assert {code for code, _, accounts in rows if accounts == "yes"} == ACCOUNTING


def test_each_field_is_described_and_no_other() -> None:
    tables = re.findall(r"^\| field \|[^\n]*\n\|[-|]+\n((?:\|[^\n]+\n)+)", PAGE, re.MULTILINE)
    names = [re.findall(r"^\| `(\w+)`", table, re.MULTILINE) for table in tables]
    assert names == [list(DAY.as_dict()), list(DAY.as_dict()["totals"][0])]
