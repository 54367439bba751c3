"""Bodies as Copernica writes them: URL-encoded forms in PHP's way, and JSON objects.

Both become one mapping of names to values, lists and maps. A plain name that occurs more than once has a list of
its values, where PHP would keep the last: nothing is lost that a reader could want.

Bodies may be made to be dear, and may be as large as INGEST_MAX_BODY. So the number of fields and their depth are
limited, and reading a large body takes no more memory than 4 times its size, whatever is in it; only text with
characters beyond U+FFFF takes more, because Python holds all of such a text at 4 bytes for each character.
"""

import json
import re
from binascii import a2b_qp
from math import isfinite
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from ingest.copernica.columns import fits_column
from ingest.copernica.php_brackets import nest
from ingest.errors import Undecodable

#: Most fields of one form, and most values in all of a JSON text. A profile has a few dozen; PHP stops at 1,000.
MAX_FIELDS = 10_000
#: Bytes of a form beyond which it is decoded piece by piece: at once is faster, but takes several times its size.
LARGE = 64 * 1024
#: Bytes of such a piece: a hundred times that is needed to decode it, if it has nothing but percent signs.
PIECE = 16 * 1024
#: Most digits of a JSON number that surely fits 64 bits; longer ones are kept as text.
MAX_DIGITS = 18
#: Most levels of lists and objects in JSON. What is read here is written again, from deeper in the stack.
MAX_DEPTH = 100
#: Encodings that a content type may name; with any other, a body is read as UTF-8.
CHARSETS = frozenset({"iso-8859-1", "latin1", "iso-8859-15", "windows-1252", "cp1252"})
UTF_8 = "utf-8"

# A form contains no raw control characters; a body that does is something else.
_CONTROLS = bytes(range(32)) + b"\x7f"
_ODD_ESCAPE = re.compile(b"%(?![0-9a-fA-F]{2})|%1[eEfF]")
_ESCAPE = re.compile(b"%[0-9a-fA-F]{2}")
_STRAY = re.compile(b"%(?![0-9a-fA-F]{2})|=")
_AS_QUOTED_PRINTABLE = bytes.maketrans(b"+=&%", b" \x1f\x1e=")
# Strings are skipped, without remembering where in them to come back to.
_JSON_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{},]', re.DOTALL)
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)


class Fields(NamedTuple):
    """The fields of a body, and whether they say everything that the body does.

    `exact` is False where two bodies that mean different things would give the same fields: a plain name sent
    twice, brackets that PHP would not read, bytes that are not text, JSON numbers that no database can hold. `[]`
    and `[0]`, or `+` and `%20`, mean the same.
    """

    values: dict[str, Any]
    exact: bool


def parse(body: bytes, content_type: str) -> Fields:
    """Read the fields of a body.

    How it looks counts for more than its content type: Copernica's articles on webhooks show forms, but its
    article on security announces them as `application/json`.

    Raises:
        Undecodable: it is neither a form nor a JSON object.
    """
    charset = _charset(content_type)
    if body.lstrip()[:1] not in (b"{", b"[") and not body.startswith(b"\xef\xbb\xbf"):
        return parse_form(body, charset)
    try:
        return parse_json(body, charset)
    except Undecodable:
        if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise
        return parse_form(body, charset)


def is_utf8(content_type: str) -> bool:
    """Whether a body with this content type is read as UTF-8."""
    return _charset(content_type) == UTF_8


def _charset(content_type: str) -> str:
    if ";" not in content_type:
        return UTF_8
    match = _CHARSET.search(content_type)
    name = match[1].lower() if match else UTF_8
    return name if name in CHARSETS else UTF_8


def parse_form(body: bytes, charset: str = UTF_8) -> Fields:
    """Read a URL-encoded form. Bytes that are not text become lone surrogates, which can be turned back.

    Raises:
        Undecodable: it has control characters, no `=` at all, or more than `MAX_FIELDS` fields.
    """
    body = body.strip(b"\r\n")
    if not body:
        return Fields({}, True)
    if b"=" not in body or len(body.translate(None, _CONTROLS)) != len(body):
        raise Undecodable("neither a form nor a JSON object")
    if body.count(b"&") >= MAX_FIELDS:
        raise Undecodable(f"a form of more than {MAX_FIELDS} fields")
    exact = b"%00" not in body  # a NUL is text to Python and to PHP, but not to every database
    pairs = _pairs_slowly if len(body) > LARGE or _ODD_ESCAPE.search(body) else _pairs
    try:
        fields, regular = _gather(pairs(body, charset, "strict"))
    except UnicodeDecodeError:
        fields, regular = _gather(pairs(body, charset, "surrogateescape"))
        exact = False
    return Fields(fields, exact and regular)


#: A name, what was between it and its value (nothing, if the name was alone), and the value.
Pair = tuple[str, str, str]


def _pairs(body: bytes, charset: str, errors: str) -> list[Pair]:
    """The fields of a form, decoded all at once.

    The escapes of forms are those of quoted-printable with another sign, and the standard library decodes these in
    C. The signs between fields become control characters, which a form does not contain.
    """
    text = a2b_qp(body.translate(_AS_QUOTED_PRINTABLE)).decode(charset, errors)
    pairs = [pair.partition("\x1f") for pair in text.split("\x1e")]
    return [(name, equals, value.replace("\x1f", "=")) for name, equals, value in pairs]


def _pairs_slowly(body: bytes, charset: str, errors: str) -> list[Pair]:
    """The same for large forms, and for those with stray percent signs or escapes of those control characters."""
    pairs: list[Pair] = []
    begin, end = 0, -1
    while end < len(body):
        begin = end + 1
        end = body.find(b"&", begin)
        if end < 0:
            end = len(body)
        equals = body.find(b"=", begin, end)
        if equals < 0:
            pairs.append((_unquoted(body, begin, end).decode(charset, errors), "", ""))
        else:
            name = _unquoted(body, begin, equals).decode(charset, errors)
            pairs.append((name, "=", _unquoted(body, equals + 1, end).decode(charset, errors)))
    return pairs


def _unquoted(body: bytes, begin: int, end: int) -> bytes | bytearray:
    """A part of a form without its escapes, decoded piece by piece."""
    if end - begin <= PIECE:
        return _unquoted_piece(body[begin:end])
    unquoted = bytearray()
    while begin < end:
        stop = min(begin + PIECE, end)
        if stop < end and (percent := body.rfind(b"%", stop - 2, stop)) > 0:
            stop = percent  # an escape may begin there, which must not be cut in two
        unquoted += _unquoted_piece(body[begin:stop])
        begin = stop
    return unquoted


def _unquoted_piece(piece: bytes) -> bytes:
    piece = piece.replace(b"+", b" ")
    if not _ESCAPE.search(piece):
        return piece
    return unquote_to_bytes(piece) if _STRAY.search(piece) else a2b_qp(piece.replace(b"%", b"="))


def _gather(pairs: list[Pair]) -> tuple[dict[str, Any], bool]:
    """The fields, and whether PHP would read the same ones."""
    fields: dict[str, Any] = {name: value for name, _, value in pairs}
    regular = True
    if len(fields) != len(pairs) or "" in fields:
        fields, regular = _gather_slowly(pairs)
    bracketed = tuple([name for name in fields if name[-1:] == "]"])
    return nest(fields, bracketed, regular) if bracketed else (fields, regular)


def _gather_slowly(pairs: list[Pair]) -> tuple[dict[str, Any], bool]:
    """The same, where a name occurs twice or is empty."""
    fields: dict[str, Any] = {}
    regular = True
    for name, equals, value in pairs:
        if not equals and not name:
            continue
        if name not in fields:
            fields[name] = value
            continue
        regular = regular and name.endswith("[]")  # a list that numbers itself
        if not isinstance(fields[name], list):
            fields[name] = [fields[name]]
        fields[name].append(value)
    return fields, regular


def parse_json(body: bytes, charset: str = UTF_8) -> Fields:
    """Read a JSON object.

    Raises:
        Undecodable: it is not JSON (NaN is not), not an object, nested too deeply, or of more than `MAX_FIELDS`
            values.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_FIELDS:
        _limit(body)
    reader = _Json()
    try:
        text = body.removeprefix(b"\xef\xbb\xbf").decode(charset, "surrogateescape")
        values = reader.read(text)
    except ValueError:
        raise Undecodable("JSON, but invalid") from None
    except RecursionError:
        raise Undecodable("JSON, but nested too deeply") from None
    if not isinstance(values, dict):
        raise Undecodable("JSON, but not an object")
    if _deeper(values, MAX_DEPTH):
        raise Undecodable("JSON, but nested too deeply")
    return Fields(values, reader.exact and _is_plain_text(text, values))


def _limit(body: bytes) -> None:
    """Refuse JSON of too many values before any memory is spent on them; commas and brackets in strings are none.

    Raises:
        Undecodable: it has more than `MAX_FIELDS` values, or is nested too deeply.
    """
    values = depth = 0
    for token in _JSON_TOKEN.finditer(body):
        sign = body[token.start()]
        depth += (sign in b"[{") - (sign in b"]}")
        values += sign in b"[{,"
        if depth > MAX_DEPTH:
            raise Undecodable("JSON, but nested too deeply")
        if values > MAX_FIELDS:
            raise Undecodable(f"JSON of more than {MAX_FIELDS} values")
        if depth < 1:
            return  # what comes now is no JSON


def _is_plain_text(text: str, values: dict[str, Any]) -> bool:
    """Whether no string in it has a NUL or half a character, which only an escape or a bad byte can cause."""
    return (text.isascii() and "\\u" not in text) or _all_fit(values)


def _all_fit(value: Any) -> bool:
    if isinstance(value, str):
        return fits_column(value)
    if isinstance(value, dict):
        return all(map(_all_fit, value)) and all(map(_all_fit, value.values()))
    return not isinstance(value, list) or all(map(_all_fit, value))


def _deeper(value: Any, limit: int) -> bool:
    """Whether lists and objects are nested beyond a limit; level by level, since recursion is the danger."""
    level = [value]
    while level and limit:
        limit -= 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


class _Json:
    """Reads one JSON text, and notes whether anything in it could not be kept as it was."""

    exact = True

    def read(self, text: str) -> Any:
        """Its value.

        Raises:
            ValueError, RecursionError: it is not JSON, or nested too deeply for Python.
        """
        return json.loads(
            text,
            parse_int=self._integer,
            parse_float=self._fraction,
            parse_constant=_no_constant,
            object_pairs_hook=self._object,
        )

    def _integer(self, digits: str) -> int | str:
        if len(digits.lstrip("-")) <= MAX_DIGITS and digits != "-0":
            return int(digits)
        self.exact = False
        return digits

    def _fraction(self, text: str) -> float | str:
        value = float(text)
        # Kept as a number only if Python and PostgreSQL would write it back as it was.
        if isfinite(value) and value and repr(value) == text and "e" not in text:
            return value
        self.exact = False
        return text

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > MAX_FIELDS:
            raise ValueError("too many fields")
        merged: dict[str, Any] = {}
        repeated: set[str] = set()
        for name, value in pairs:
            if name not in merged:
                merged[name] = value
                continue
            self.exact = False
            if name in repeated:
                merged[name].append(value)
            else:
                repeated.add(name)
                merged[name] = [merged[name], value]
        return merged


def _no_constant(name: str) -> None:
    raise ValueError(name)
