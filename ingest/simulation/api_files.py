"""A log file in each form that Copernica serves it in, made from CSV with a line of names, piece by piece."""

import csv
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import orjson

#: Bytes that are read at once.
BLOCK = 64 * 1024
#: What XML cannot hold, even escaped.
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _as_it_is(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(BLOCK):
            yield piece


def _without_names(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.readline()
        while piece := file.read(BLOCK):
            yield piece


def _rows(path: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(sys.maxsize)  # a complaint holds a whole mail
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, restval="")


def _json(path: Path) -> Iterator[bytes]:
    between = b"["
    for row in _rows(path):
        yield between + orjson.dumps(row)
        between = b",\n"
    yield b"[]" if between == b"[" else b"]"


def _xml(path: Path) -> Iterator[bytes]:
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<records>\n'
    for row in _rows(path):
        fields = (f"<{name}>{_xml_text(value)}</{name}>" for name, value in row.items())
        yield f"<record>{''.join(fields)}</record>\n".encode()
    yield b"</records>\n"


def _xml_text(value: str) -> str:
    # Parsers make a bare carriage return a newline.
    return escape(NOT_XML.sub("\ufffd", value), {"\r": "&#13;"})


#: By the end of the URL that asks for it.
FORMS: dict[str, Callable[[Path], Iterator[bytes]]] = {
    "csv": _without_names,
    "csv/header": _as_it_is,
    "json": _json,
    "xml": _xml,
}
