"""Events for programs and spreadsheets, as JSON lines and as CSV: the same from the console and at the prompt."""

import csv
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from ingest import shown
from ingest.copernica.events import MICROS, Event

#: How a cell begins that spreadsheets would run as a formula; the wide forms count in some of them, too.
FORMULA_SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"

# Where a cell begins: at the start, and behind `;`, by which many a European spreadsheet divides its lines. Line
# ends and tabs, which would divide it too, do not get this far.
_FORMULA = re.compile(rf"(^|;)(?=[\s\"]*[{re.escape(FORMULA_SIGNS)}])")
# The same in JSON, where only a string can hold a semicolon and any sign may be written by its number.
_FORMULA_IN_JSON = re.compile(rf"(?<=;)(\s*)([{re.escape(FORMULA_SIGNS)}])")

#: Makes one line of JSON of a value.
Dump = Callable[[object], str]


def dump(value: object) -> str:
    """JSON on one line, in UTF-8, without anything that could steer a terminal."""
    try:
        return shown.escaped_json(orjson.dumps(value).decode())
    except TypeError:  # lone surrogates, which stand for bytes that are not text
        return json.dumps(value, separators=(",", ":"))


def moment(micros: int) -> str:
    """µs since 1970 as ISO 8601, in UTC."""
    second, fraction = divmod(micros, MICROS)
    written = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{written}.{fraction:06d}Z" if fraction else f"{written}Z"


def as_row(event: Event) -> dict[str, Any]:
    """An event with names and values for JSON."""
    row = event._asdict()
    row["delivery_id"] = event.delivery_id.hex()
    row["occurred_at"], row["received_at"] = moment(event.occurred_at), moment(event.received_at)
    row["raw"] = None if event.raw is None else b64encode(event.raw).decode()
    return row


def write_jsonl(events: Iterable[Event], out: TextIO, dump: Dump = dump) -> None:
    """A line of JSON for each event, as it comes."""
    for event in events:
        out.write(dump(as_row(event)) + "\n")


def write_header(out: TextIO) -> None:
    """The first line of CSV: the names of the columns."""
    csv.writer(out, lineterminator="\n").writerow(Event._fields)


def write_csv(events: Iterable[Event], out: TextIO, dump: Dump = dump) -> None:
    """A line of CSV for each event, as it comes, without the names of the columns."""
    writer = csv.DictWriter(out, Event._fields, lineterminator="\n")
    for event in events:
        row = as_row(event) | {"tags": ";".join(event.tags)}
        cells = {name: _harmless(value) for name, value in row.items() if name != "payload"}
        writer.writerow(cells | {"payload": _harmless_json(dump(event.payload))})


def _harmless(value: str | int | None) -> str | int:
    """A value that no spreadsheet runs as a formula, and every file can hold."""
    if value is None or isinstance(value, int):
        return "" if value is None else value
    return _FORMULA.sub(r"\1'", shown.escaped(value))


def _harmless_json(text: str) -> str:
    """The same for JSON, which means what it meant."""
    return _FORMULA_IN_JSON.sub(lambda found: f"{found[1]}\\u{ord(found[2]):04x}", text)
