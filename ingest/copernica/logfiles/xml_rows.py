"""Log files in XML: `<records><record><name>value</name>…`.

Safe by refusing: only a document type can declare entities, and a file that has one is not read. So nothing is
ever expanded or fetched. Behind a fault in its syntax XML cannot be read on.
"""

from collections.abc import Iterable, Iterator
from xml.parsers import expat

from ingest.copernica.logfiles.rows import (
    CUT_OFF,
    MAX_COLUMNS,
    MAX_RECORD,
    TOO_LONG,
    TOO_WIDE,
    Damage,
    Row,
    Unreadable,
)

#: How deep the elements are: within the file, within the list, within a record, within a field.
FILE, LIST, RECORD, FIELD = range(4)
#: Where expat says that more should have come.
_UNFINISHED = frozenset({"no element found", "unclosed token", "partial character", "unclosed CDATA section"})


def rows(blocks: Iterable[bytes]) -> Iterator[Row | Damage]:
    """The records, numbered from 1."""
    records = _Records()
    for block in blocks:
        yield from records.read(block, over=False)
        if records.broken:
            return
    yield from records.read(b"", over=True)


class _Records:
    """Gathers records from what the parser meets."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._found: list[Row | Damage] = []
        self._depth = FILE
        self._number = 0
        self._names: list[str] = []
        self._values: list[str] = []
        self._text: list[str] = []
        #: Characters of the record so far, and what is wrong with it.
        self._size = 0
        self._fault = ""
        self._fed = 0
        self.broken = False

    def read(self, block: bytes, over: bool) -> list[Row | Damage]:
        """What a block brings to its end."""
        self._found = []
        self._fed += len(block)
        try:
            self._parser.Parse(block, over)
            if self._fed - max(self._parser.CurrentByteIndex, 0) > MAX_RECORD:
                raise Unreadable(TOO_LONG)  # a name or a comment without end, which the parser would keep
        except expat.ExpatError as error:
            text = expat.ErrorString(error.code) or ""
            reason = CUT_OFF if over and text in _UNFINISHED else f"not XML ({text} on line {error.lineno})"
            self._give_up(reason)
        except Unreadable as error:
            self._give_up(str(error))
        return self._found

    def _give_up(self, reason: str) -> None:
        self.broken = True
        number = self._number + (self._depth <= LIST)
        self._found.append(Damage(number, f"{reason}; nothing behind it was read"))

    def _doctype(self, *_: object) -> None:
        raise Unreadable("declares a document type, which log files do not have")

    def _start(self, name: str, _: object) -> None:
        if self._depth == FILE and name != "records":
            raise Unreadable(f"<{name[:20]}>, where <records> is expected")
        if self._depth == LIST:
            self._number += 1
            self._names, self._values, self._size = [], [], 0
            self._fault = "" if name == "record" else f"<{name[:20]}>, where <record> is expected"
        elif self._depth == RECORD:
            self._names.append(name)
            self._text = []
        elif self._depth == FIELD:
            self._fault = f"<{name[:20]}> within a field"
        self._depth += 1

    def _end(self, _: str) -> None:
        self._depth -= 1
        if self._depth == RECORD:
            self._values.append("".join(self._text))
        elif self._depth == LIST:
            if len(self._names) > MAX_COLUMNS:
                self._fault = TOO_WIDE
            row = self._number, tuple(self._names), self._values
            self._found.append(Damage(self._number, self._fault) if self._fault else row)

    def _data(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_RECORD:
            raise Unreadable(TOO_LONG)
        if self._depth > RECORD:
            self._text.append(text)
        elif text.strip():
            self._fault = "text outside of its fields"
