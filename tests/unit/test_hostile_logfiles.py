"""Files made to be dear: read, or given up, with memory in proportion to a record and without endless work."""

import io
import json
import tracemalloc

import pytest

from ingest.copernica.logfiles import csv_rows, json_rows
from ingest.copernica.logfiles.kinds import KINDS
from ingest.copernica.logfiles.reader import read
from ingest.copernica.logfiles.rows import CUT_OFF, TOO_DAMAGED, Damage

CLICKS = KINDS["cdm-click"]
TIME = "2026-11-20 09:00:00"
HEADER = ",".join(CLICKS.columns) + "\n"
#: Bytes of each file: with work that grows with the square, reading it would take minutes.
SIZE = 1 << 18


def reasons(content: bytes) -> list[str]:
    return [row.reason for row in read(io.BytesIO(content), CLICKS, whole=True) if isinstance(row, Damage)]


@pytest.mark.parametrize("piece", ['{"a":', '{"a" ', '{"a":"b\\" ', '{"', f'{{"time":"{TIME}","a":['])
def test_json_that_begins_again_and_again_is_given_up(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "MAX_WASTE", SIZE)
    content = b"[" + piece.encode() * (SIZE // len(piece))
    assert reasons(content)[-1] in (TOO_DAMAGED, CUT_OFF)


@pytest.mark.parametrize(
    "line", [f'a,b,{TIME},"x\n', f'a,b,{TIME},"x""\n', f'a,b,{TIME},"x\ny"z\n', f'{TIME},"\n']
)
def test_csv_with_a_fault_in_every_line_is_read_through(line: str) -> None:
    lines = SIZE // len(line)
    assert len(reasons((HEADER + line * lines).encode())) >= lines // 2


def test_csv_whose_quotes_never_match_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its lines leaves a quote open, read afresh as well as within a quote: to the end, each time."""
    monkeypatch.setattr(csv_rows, "MAX_WASTE", SIZE)
    line = f'{TIME},x","\n'
    assert reasons((HEADER + line * (SIZE // len(line))).encode())[-1] == TOO_DAMAGED


@pytest.mark.slow
def test_a_large_record_is_no_waste() -> None:
    mail = "x" * (10 * 1024 * 1024)
    row = dict.fromkeys(CLICKS.columns, "") | {"time": TIME, "tags": mail}
    assert reasons(json.dumps([row, row]).encode()) == []
    line = ",".join(f'"{value}\n"' if value == mail else value for value in row.values()) + "\n"
    assert reasons((HEADER + 2 * line).encode()) == []


def test_one_damaged_object_in_many_is_no_reason_to_give_up() -> None:
    objects = [f'{{"time":"{TIME}","id":"{number}"{"" if number % 50 else ":"}}}' for number in range(20_000)]
    assert len(reasons(f"[{','.join(objects)}]".encode())) == 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begin", "piece", "size", "told"),
    [
        ('[{"a":1,', '"b":1,', 16, "columns"),
        ('[{"a":[', "1,", 16, "columns"),
        ("<records><record>", "<a/>", 1, "cut off"),
        ("<records><record><a>", "<a>", 1, "nested too deeply"),
    ],
)
def test_what_has_millions_of_parts_is_not_kept(begin: str, piece: str, size: int, told: str) -> None:
    content = (begin + piece * (size * SIZE // len(piece))).encode()
    tracemalloc.start()
    try:
        (why,) = reasons(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told in why
    assert peak < 160 * SIZE  # a block of the file takes some times its size, the whole of it far more
