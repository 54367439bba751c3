"""Bodies as Copernica writes them: URL-encoded forms in PHP's fashion, and JSON objects.

Both become one flat mapping of names to values. Names stay as sent, brackets included (`fields[email]`), and a
name that occurs more than once has the list of its values: nothing is lost that a reader could want back.
"""

import json
import re
from binascii import a2b_qp
from math import isfinite
from typing import Any
from urllib.parse import unquote_to_bytes

from ingest.errors import Undecodable

#: Fields of one body at the most. A profile has some dozens; PHP itself stops at 1,000.
MAX_FIELDS = 10_000
#: Digits of a JSON number that still fits 64 bits; longer ones are kept as text.
MAX_DIGITS = 18

#: Levels of lists and objects in JSON. What is read here must be written again, from deeper in the stack.
MAX_DEPTH = 100
#: Names that are remembered in their decoded form, and characters of one that is worth it.
MAX_CACHED_NAMES = 1024
MAX_CACHED_NAME = 100

# A form holds no raw control characters; a body that does is something else.
_CONTROLS = bytes(range(32)) + b"\x7f"
_STRAY_PERCENT = re.compile("%(?![0-9a-fA-F]{2})")


def parse(body: bytes, content_type: str) -> dict[str, Any]:
    """Read the fields of a body.

    Looks count for more than the content type: Copernica's articles show forms, but its article on security
    announces `application/json` for them.

    Raises:
        Undecodable: it is neither a form nor a JSON object.
    """
    if body.lstrip()[:1] not in (b"{", b"["):
        return parse_form(body)
    try:
        return parse_json(body)
    except Undecodable:
        if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise
        return parse_form(body)


def parse_form(body: bytes) -> dict[str, Any]:
    """Read a URL-encoded form. Bytes that are not UTF-8 become lone surrogates, so they can be had back.

    Raises:
        Undecodable: control characters, no `=` at all, or more than `MAX_FIELDS` fields.
    """
    body = body.strip(b"\r\n")
    if not body:
        return {}
    if b"=" not in body or len(body.translate(None, _CONTROLS)) != len(body):
        raise Undecodable("neither a form nor a JSON object")
    if body.count(b"&") >= MAX_FIELDS:
        raise Undecodable(f"a form of more than {MAX_FIELDS} fields")
    text = body.decode("utf-8", "surrogateescape").replace("+", " ")
    unquote = _unquote_fast if text.isascii() and not _STRAY_PERCENT.search(text) else _unquote
    fields: dict[str, Any] = {}
    for pair in text.split("&"):
        raw_name, _, value = pair.partition("=")
        if "%" in value:
            value = unquote(value)
        name = _names.get(raw_name) or _name(raw_name)
        if name in fields:
            if pair:
                _repeat(fields, name, value)
        elif pair:
            fields[name] = value
    return fields


#: Names as sent and what they mean: bodies have the same few dozen.
_names: dict[str, str] = {}


def _name(raw: str) -> str:
    name = _unquote(raw)
    if len(_names) < MAX_CACHED_NAMES and len(raw) <= MAX_CACHED_NAME:
        _names[raw] = name
    return name


def _unquote(text: str) -> str:
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _unquote_fast(text: str) -> str:
    """The same for ASCII without stray percent signs, at a sixth of the time.

    Form escapes are quoted-printable ones with another sign, and the standard library decodes those in C.
    """
    if "=" in text:
        return _unquote(text)
    return a2b_qp(text.replace("%", "=")).decode("utf-8", "surrogateescape")


def _repeat(fields: dict[str, Any], name: str, value: str) -> None:
    earlier = fields[name]
    if isinstance(earlier, list):
        earlier.append(value)
    else:
        fields[name] = [earlier, value]


def parse_json(body: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        Undecodable: not JSON (NaN is none), not an object, or nested too deeply.
    """
    try:
        fields = json.loads(
            body, parse_int=_integer, parse_float=_fraction, parse_constant=_no_constant, object_pairs_hook=_merge
        )
    except ValueError:
        raise Undecodable("JSON, but invalid") from None
    except RecursionError:
        raise Undecodable("JSON, but nested too deeply") from None
    if not isinstance(fields, dict):
        raise Undecodable("JSON, but not an object")
    if _deeper(fields, MAX_DEPTH):
        raise Undecodable("JSON, but nested too deeply")
    return fields


def _deeper(value: Any, limit: int) -> bool:
    """Whether lists and objects are nested beyond a limit; level by level, since recursion is what it is about."""
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


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits.lstrip("-")) <= MAX_DIGITS else digits


def _fraction(text: str) -> float | str:
    value = float(text)
    return value if isfinite(value) else text


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _merge(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_FIELDS:
        raise ValueError("too many fields")
    merged: dict[str, Any] = {}
    repeated: set[str] = set()
    for name, value in pairs:
        if name not in merged:
            merged[name] = value
        elif name in repeated:
            merged[name].append(value)
        else:
            repeated.add(name)
            merged[name] = [merged[name], value]
    return merged
