"""Tables that fit the terminal, whatever is in them."""

import io
from contextlib import redirect_stdout
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ingest.cli.render import console, events
from ingest.cli.render.console import Column
from tests.support.builders import NINE, event

COLUMNS = (Column("a", 5, 9), Column("b", 10, 40), Column("c", 3, 1000))


@given(st.text(max_size=50), st.integers(1, 30))
def test_a_cell_is_as_wide_as_its_column(text: str, width: int) -> None:
    assert cell_len(console.cell(text, width)) == width


@given(st.integers(5, 300))
def test_columns_use_the_line_and_fit_into_it(room: int) -> None:
    widths = console.fitted(COLUMNS, room)
    assert sum(widths.values()) + 2 * (len(widths) - 1) <= room
    assert all(column.least <= widths[column.name] <= column.most for column in COLUMNS[: len(widths)])
    if len(widths) == len(COLUMNS):
        assert sum(widths.values()) + 4 == room


@pytest.mark.parametrize("zone", ["UTC", "Europe/Amsterdam", "America/Argentina/ComodRivadavia"])
@pytest.mark.parametrize("columns", [40, 80, 132, 250])
def test_a_table_of_events_fits(monkeypatch: pytest.MonkeyPatch, columns: int, zone: str) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    changes = {
        "recipient": "日本語😀" * 9,
        "message_id": "m" * 50,
        "ip": "2001:db8::" + "f" * 30,
        "url": "https://" + "é" * 500,
    }
    with redirect_stdout(io.StringIO()) as out:
        events.events([event(1, **changes), event(2, recipient=None)], "table", ZoneInfo(zone))
    assert [line for line in out.getvalue().splitlines() if cell_len(line) > columns] == []


def test_times_are_shown_in_a_zone_and_can_be_typed_again() -> None:
    assert console.local(NINE + 999_999, ZoneInfo("UTC")) == "2026-11-20T09:00:00Z"
    assert console.local(NINE, ZoneInfo("Asia/Kolkata")) == "2026-11-20T14:30:00+05:30"
    assert len(console.local(NINE, ZoneInfo("Asia/Kolkata"))) == console.time_width(ZoneInfo("Asia/Kolkata"))
