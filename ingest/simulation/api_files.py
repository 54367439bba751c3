"""A log file in each form in which Copernica serves it, made piece by piece from CSV with a header row."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import orjson

from ingest.copernica.logfiles.csv_rows import parse_record

#: Bytes read at once: what fits in a few packets.
BLOCK = 64 * 1024
#: What XML cannot contain, even escaped.
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _with_header(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(BLOCK):
            yield piece


def _without_header(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.readline()
        while piece := file.read(BLOCK):
            yield piece


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows by their columns; absent fields are empty. Complaints contain whole messages: any size is read."""
    names: list[str] = []
    lines: list[str] = []
    quotes = 0
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            lines.append(line)
            quotes += line.count('"')
            if quotes % 2:
                continue  # the line ends within a field
            values, _ = parse_record("".join(lines))
            lines.clear()
            if names and values != [""]:
                yield dict.fromkeys(names, "") | dict(zip(names, values, strict=False))
            names = names or values


def _json(path: Path) -> Iterator[bytes]:
    between = b"["
    for row in rows(path):
        yield between + orjson.dumps(row)
        between = b",\n"
    yield b"[]" if between == b"[" else b"]"


def _xml(path: Path) -> Iterator[bytes]:
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<records>\n'
    for row in rows(path):
        fields = (f"<{name}>{_xml_text(value)}</{name}>" for name, value in row.items())
        yield f"<record>{''.join(fields)}</record>\n".encode()
    yield b"</records>\n"


def _xml_text(value: str) -> str:
    # A parser would turn a bare carriage return into a newline.
    return escape(NOT_XML.sub("\ufffd", value), {"\r": "&#13;"})


#: How each form is made, by the end of the URL that asks for it.
FORMS: dict[str, Callable[[Path], Iterator[bytes]]] = {
    "csv": _without_header,
    "csv/header": _with_header,
    "json": _json,
    "xml": _xml,
}
