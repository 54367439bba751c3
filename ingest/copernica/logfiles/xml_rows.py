"""Log files in XML: `<records><record><name>value</name>…`.

Only a document type can declare entities, and a file that has one is not read, so nothing is ever expanded or
fetched. After a fault in its syntax, the rest of an XML file cannot be read.
"""

import re
from collections.abc import Iterable, Iterator
from xml.parsers import expat

from ingest.copernica.logfiles.rows import (
    CUT_OFF,
    MAX_COLUMNS,
    MAX_RECORD,
    TOO_LONG,
    TOO_WIDE,
    WEB_PAGE,
    Damage,
    Row,
    Unreadable,
    Unusable,
)
from ingest.copernica.logfiles.spreadsheets import resaved_as

#: How deep the parser is: in the file, in the list, in a record, in a field.
FILE, LIST, RECORD, FIELD = range(4)
#: How deep elements may be in one another; the parser keeps them all.
MAX_DEPTH = 50
#: What may stand around a value: SMTPeter lays them out on lines of their own.
BLANKS = " \t\r\n"
#: How a web page begins; few of them are XML.
_PAGE = re.compile(
    r"\s*<(?:!doctype\s+html|(?:html|head|body|meta|title|style|script|table|div|p)\b)", re.IGNORECASE
)
#: What spreadsheet programs have at the beginning of what they save as a web page, or as XML.
_OF_A_SPREADSHEET = re.compile(
    r"urn:schemas-microsoft-com:office|progid=\"Excel|opendocument:xmlns:office|<(?:ss:)?Workbook\b"
)
#: What expat says when it expects more.
_UNFINISHED = frozenset({"no element found", "unclosed token", "partial character", "unclosed CDATA section"})


def rows(blocks: Iterable[bytes], declared: bool) -> Iterator[Row | Damage]:
    """The records, numbered from 1. The file is in UTF-8, unless it is as `declared` in its first line."""
    records = _Records(None if declared else "utf-8")
    try:
        for block in blocks:
            yield from records.read(block)
            if records.broken:
                return
    except Unreadable as error:  # it is no text
        yield records.give_up(str(error))
        return
    yield from records.read(b"", at_end=True)


def of_another_program(beginning: str) -> str:
    """Why what begins like this is no log file but what another program has written; empty if it may be one."""
    beginning = beginning.lstrip("\ufeff\u00ef\u00bb\u00bf")
    if _OF_A_SPREADSHEET.search(beginning):
        return resaved_as("a web page, or XML of its own")
    return WEB_PAGE if _PAGE.match(beginning) else ""


class _Records:
    """Collects records from what the parser reports."""

    def __init__(self, encoding: str | None) -> None:
        self._parser = expat.ParserCreate(encoding)
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        #: What the current block has brought so far.
        self._rows: list[Row | Damage] = []
        self._depth = FILE
        self._number = 0
        self._names: list[str] = []
        self._values: list[str] = []
        self._text: list[str] = []
        #: Characters of the record so far.
        self._size = 0
        #: What is wrong with the record.
        self._fault = ""
        #: Bytes given to the parser.
        self._fed = 0
        #: Whether the rest of the file cannot be read.
        self.broken = False

    def read(self, block: bytes, at_end: bool = False) -> list[Row | Damage]:
        """The records that end in a block; `at_end`: no more will come."""
        self._rows = []
        self._fed += len(block)
        try:
            self._parser.Parse(block, at_end)
            if self._fed - max(self._parser.CurrentByteIndex, 0) > MAX_RECORD:
                raise Unreadable(TOO_LONG)  # an endless name or comment, which the parser would keep
        except expat.ExpatError as error:
            text = expat.ErrorString(error.code) or ""
            reason = CUT_OFF if at_end and text in _UNFINISHED else f"not XML ({text} on line {error.lineno})"
            self._rows.append(self.give_up(reason))
        except Unreadable as error:
            self._rows.append(self.give_up(str(error), isinstance(error, Unusable)))
        return self._rows

    def give_up(self, reason: str, whole: bool = False) -> Damage:
        """What to report when nothing after this can be read, or nothing of the `whole`."""
        self.broken = True
        number = self._number + (self._depth <= LIST)
        return Damage(number, reason if whole else f"{reason}; nothing after it was read", whole)

    def _doctype(self, name: str, *_: object) -> None:
        if name.lower() == "html":
            raise Unusable(WEB_PAGE)
        raise Unusable("declares a document type, which log files do not have")

    def _start(self, name: str, _: object) -> None:
        if self._depth == FILE and name.lower() in ("html", "body", "head"):
            raise Unusable(WEB_PAGE)
        if self._depth == FILE and name != "records":
            raise Unusable(f"<{name[:20]}>, where <records> is expected")
        if self._depth == LIST:
            self._number += 1
            self._names, self._values, self._size = [], [], 0
            self._fault = "" if name == "record" else f"<{name[:20]}>, where <record> is expected"
        elif self._depth == RECORD:
            if len(self._names) < MAX_COLUMNS:
                self._names.append(name)
            else:
                self._fault = TOO_WIDE
            self._text = []
        elif self._depth == FIELD:
            self._fault = f"<{name[:20]}> within a field"
        elif self._depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        self._depth += 1

    def _end(self, _: str) -> None:
        self._depth -= 1
        if self._depth == RECORD:
            if len(self._values) < MAX_COLUMNS:
                self._values.append("".join(self._text).strip(BLANKS))
        elif self._depth == LIST:
            row = self._number, tuple(self._names), self._values
            self._rows.append(Damage(self._number, self._fault) if self._fault else row)

    def _data(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_RECORD:
            raise Unreadable(TOO_LONG)
        if self._depth > RECORD:
            self._text.append(text)
        elif text.strip():
            self._fault = "text outside its fields"
