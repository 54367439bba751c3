"""The page on `ingest event --json` says what the program prints."""

import re
from dataclasses import fields

from tests.support.source import ROOT
from workers.operations.event.finding import Found, Where
from workers.operations.event.report import Report
from workers.operations.event.way import Step, What

PAGE = (ROOT / "docs" / "event.md").read_text()


def column(head: str) -> list[str]:
    """The names in the first column of the table with this head."""
    table = re.search(rf"^\| {head} \|[^\n]*\n\|[-|]+\n((?:\|[^\n]+\n)+)", PAGE, re.MULTILINE)
    assert table is not None
    return re.findall(r"^\| `([\w-]+)`", table[1], re.MULTILINE)


def test_each_field_is_described_and_no_other() -> None:
    assert column("field") == list(Report(Found(b"", Where.NOWHERE), None).as_json())
    assert sorted(column("field of a step")) == sorted(field.name for field in fields(Step))


def test_each_value_is_described_and_no_other() -> None:
    assert sorted(column("where")) == sorted(Where)
    assert column("what") == list(What)
