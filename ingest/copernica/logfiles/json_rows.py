"""Log files in JSON: a list of objects, or one object per line.

Objects are decoded one by one by the standard library's decoder, in C. After one that cannot be read, reading
resumes at the next that can and that has a `time`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, cast

from ingest.copernica.columns import fitting
from ingest.copernica.logfiles.rows import (
    BLOCK,
    CUT_OFF,
    MAX_COLUMNS,
    MAX_RECORD,
    TOO_LONG,
    TOO_WIDE,
    Damage,
    Patience,
    Row,
    Unreadable,
)

_BLANKS = re.compile(r"[ \t\r\n]*")
#: How an object begins, and the most characters of that.
_OBJECT = re.compile(r'\{[ \t\r\n]{0,98}"')
_LONGEST_OPENING = 100
_TEXT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
#: Characters that may be looked at in vain, and how many more for each character of the file.
MAX_WASTE, WASTE_PER_CHARACTER = 2 * MAX_RECORD, 2
#: What an attempt costs beside that, and one that nests too deeply, as if they were characters.
ATTEMPT, DEEP_ATTEMPT = 1_000, 20_000
#: Characters of one object outside its texts: only a text can be long; a list of millions would fill the memory.
MAX_STRUCTURE = 256 * 1024
#: Characters that have been read and are kept while objects are looked for: the decoder counts their lines at
#: each fault.
KEPT = 64 * 1024
#: Characters before the end of what was read in which the end can be the cause of a fault: a pair of `\uXXXX`.
_NEAR_THE_END = 12


def rows(texts: Iterator[str]) -> Iterator[Row | Damage]:
    """The objects, numbered from 1 as far as they can be distinguished. Numbers and constants become text."""
    number = 0
    try:
        for row in _rows(_Text(texts)):
            number = row[0]
            yield row
    except Unreadable as error:
        yield Damage(number + 1, str(error))


def _rows(text: "_Text") -> Iterator[Row | Damage]:
    number = 0
    listed = text.next() == "["
    if listed:
        text.at += 1
    comma = not listed  # whether the next object may begin
    while sign := text.next():
        if listed and sign == "]":
            text.at += 1
            if text.next():
                yield Damage(number + 1, "there is more after the end of the list")
            return
        if sign == "," and listed and not comma and number:
            text.at += 1
            comma = True
            continue
        number += 1
        try:
            value = text.object()
        except ValueError as error:
            yield Damage(number, str(error))
            if not text.skip():
                return
            comma = True
            continue
        if not comma and number > 1:
            yield Damage(number, "no comma before it: something may be missing there")
        comma = not listed
        yield _row(number, value)
    if listed:
        yield Damage(number + 1, CUT_OFF)


def _row(number: int, value: dict[str, Any]) -> Row | Damage:
    if len(value) > MAX_COLUMNS:
        return Damage(number, TOO_WIDE)
    return number, tuple(map(_fit, value)), [_fit(inner) for inner in value.values()]


def _fit(value: Any) -> str:
    """A value as text that columns can hold: a list of texts (of tags) as in CSV, anything else as JSON."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(inner, str) for inner in value):
        value = ";".join(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return fitting(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"not JSON: {name}")


_decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)


class _Text:
    """The text of a file, of which only the part being read is in memory. `at` is the place of what comes next."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts = texts
        self._text = ""
        #: Whether all of it has been read.
        self._at_end = False
        self._patience = Patience(MAX_WASTE)
        #: Where the object that was read last began.
        self._began = 0
        self.at = 0

    def next(self) -> str:
        """The next character that is not a blank, or nothing at the end of the file."""
        while True:
            self.at = _BLANKS.match(self._text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self._text) or not self._more():
                return self._text[self.at : self.at + 1]

    def object(self) -> dict[str, Any]:
        """The object that begins here.

        Raises:
            ValueError: there is none, or it cannot be read; its text says why.
            Unreadable: too many cannot be read.
        """
        if not self._text.startswith("{", self.at):
            raise ValueError("not an object")
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self.at)
            except RecursionError:
                self._patience.waste(DEEP_ATTEMPT)
                raise ValueError("nested too deeply") from None
            except json.JSONDecodeError as error:
                left = len(self._text) - error.pos
                unfinished = left < _NEAR_THE_END or error.msg.startswith("Unterminated")
                too_long = unfinished and len(self._text) - self.at > MAX_RECORD
                if unfinished and not too_long and self._more():
                    self._require_narrow()
                    continue
                self._patience.waste((len(self._text) if unfinished else error.pos) - self.at + ATTEMPT)
                if too_long:
                    raise ValueError(TOO_LONG) from None
                cut_off = unfinished and (not left or error.msg.startswith("Unterminated"))
                raise ValueError(CUT_OFF if cut_off else f"not JSON: {error.msg}") from None
            self._began, self.at = self.at, end
            return cast(dict[str, Any], value)

    def skip(self) -> bool:
        """Move on to the next object that can be read and has a time; False if there is none."""
        self.at += 1
        while True:
            opening = _OBJECT.search(self._text, self.at)
            if opening is None:
                self.at = max(self.at, len(self._text) - _LONGEST_OPENING)
                if not self._more():
                    return False
                continue
            self.at = opening.start()
            if self.at > KEPT:
                self._text, self.at = self._text[self.at :], 0
            try:
                value = self.object()
            except ValueError:
                self.at += 1
                continue
            self.at = self._began if "time" in value else self._began + 1
            if "time" in value:
                return True

    def _require_narrow(self) -> None:
        """Make sure that what is unfinished is so for its texts, not for its columns."""
        if len(self._text) - self.at > BLOCK and len(_TEXT.sub("", self._text[self.at :])) > MAX_STRUCTURE:
            raise ValueError(TOO_WIDE)

    def _more(self) -> bool:
        """Read another piece; False if there is none."""
        if self._at_end:
            return False
        piece = next(self._texts, "")
        self._at_end = not piece
        self._patience.add(WASTE_PER_CHARACTER * len(piece))
        self._text = self._text[self.at :] + piece
        self.at = 0
        return True
