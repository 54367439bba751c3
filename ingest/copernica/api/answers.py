"""What an answer of Copernica's REST API holds, and whether it can be all of it.

Behind its load balancer an answer may be a page of HTML or empty although its status says that all is well. Such
an answer is treated as one that did not come.
"""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import aiohttp
import orjson

from ingest.copernica.api.connection import read_start, read_whole
from ingest.copernica.api.retry import TemporaryFailure
from ingest.copernica.columns import fitting

Form = Literal["csv", "json", "xml"]

#: Bytes at the beginning of a file in which its form shows, and at its end.
BEGINNING, END = 4096, 64
_BOM = b"\xef\xbb\xbf"
_TIME = re.compile(rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")
_ROOT_END = re.compile(rb"</?records\s*/?>\Z")
_HTML = re.compile(rb"<(!doctype\s+html|html|head|body|h1|center|title)\b", re.IGNORECASE)


#: Headers that name what was created, the surest first: two of version 4's and 3's, and that of a redirect.
CREATED = ("X-Created", "X-location", "Location")


class NotJson(Exception):
    """An answer that is neither JSON of the form that is meant nor a page of an error."""


class Declined(Exception):
    """A refusal that comes with a status of success; its text is Copernica's."""


async def read_json(response: aiohttp.ClientResponse) -> Any:
    """An answer in JSON.

    Raises:
        TemporaryFailure: it is empty or a page of HTML.
        NotJson: it is anything else.
    """
    body = (await read_whole(response)).removeprefix(_BOM).strip()
    if not body:
        raise TemporaryFailure("an empty answer")
    if body.startswith(b"<"):
        raise TemporaryFailure("a page of HTML in place of an answer")
    return json_of(body)


def json_of(body: bytes) -> Any:
    """JSON, as close as can be stored where one value of it cannot: a list of a thousand is not lost for it.

    Such are halves of surrogate pairs, as of an emoji that was cut off, bytes that are no UTF-8, and numbers
    beyond all measure, which become text.

    Raises:
        NotJson: it is none.
    """
    try:
        return orjson.loads(body)
    except ValueError:
        pass
    try:
        values = json.loads(body.decode("utf-8", "replace"), parse_float=_fraction)
        return orjson.loads(fitting(json.dumps(values, ensure_ascii=False)))
    except (ValueError, RecursionError):
        raise NotJson from None


def _fraction(text: str) -> float | str:
    value = float(text)
    return value if isfinite(value) else text


async def read_rows(response: aiohttp.ClientResponse) -> list[Any]:
    """A page of a list: documented as `{"start", "limit", "count", "total", "data"}`, or the list alone.

    PHP writes a list whose numbers have gaps as an object, `{"0": …, "2": …}`.

    Raises:
        TemporaryFailure: it is empty, null or a page of HTML.
        NotJson: it is anything else.
        Declined: it says that there is no such list.
    """
    content = await read_content(response)
    rows = content["data"] if isinstance(content, dict) and "data" in content else content
    if rows is None:
        raise TemporaryFailure("null in place of a list")
    if isinstance(rows, dict) and all(name.isdigit() for name in rows):
        rows = list(rows.values())
    if not isinstance(rows, list):
        raise NotJson
    return rows


async def read_content(response: aiohttp.ClientResponse) -> Any:
    """An answer in JSON that is not an error in disguise, which comes with a status of success, too.

    Raises:
        TemporaryFailure: it is empty or a page of HTML.
        NotJson: it is anything else.
        Declined: it is `{"error": {"message": …}}`.
    """
    content = await read_json(response)
    _require_no_refusal(content)
    return content


async def read_created(response: aiohttp.ClientResponse) -> str:
    """The id of what a change created: at the end of `X-Created`, or of `X-location`, a URL or a path; else empty.

    Raises:
        TemporaryFailure: it is a page of HTML, which says nothing about the change.
        Declined: it is `{"error": {"message": …}}`.
    """
    if any(name in response.headers for name in (*CREATED, "X-deleted")):
        await read_start(response)
        return created_in(response.headers)
    body = (await read_start(response)).removeprefix(_BOM).strip()
    if response.status != HTTPStatus.SEE_OTHER and _HTML.match(body):
        raise TemporaryFailure("a page of HTML in place of an answer")
    with suppress(ValueError):
        _require_no_refusal(orjson.loads(body))
    return ""


def _require_no_refusal(content: Any) -> None:
    if isinstance(content, dict) and isinstance(content.get("error"), dict):
        raise Declined(str(content["error"].get("message") or ""))


def created_in(headers: Mapping[str, str]) -> str:
    """The id that the headers of an answer name; empty if they name none."""
    for name in CREATED:
        value = headers.get(name, "").partition("?")[0].rstrip("/").rpartition("/")[2].strip()
        if value.isascii() and value.isalnum():
            return value
    return ""


def require_log_file(path: Path, form: Form) -> None:
    """Make sure that a download is a log file, from its beginning to its end: a day without events has one, too.

    A CSV has at least its header row, JSON at least `[]`, and XML its root.

    Raises:
        TemporaryFailure: it is not.
    """
    with path.open("rb") as file:
        beginning = file.read(BEGINNING).removeprefix(_BOM).lstrip()
        file.seek(max(0, path.stat().st_size - END))
        end = file.read().rstrip()
    if not beginning:
        raise TemporaryFailure("an empty file")
    if _HTML.match(beginning):
        raise TemporaryFailure("a page of HTML in place of the file")
    if not _LOOKS[form](beginning, end):
        raise TemporaryFailure(f"something else than a whole file in {form.upper()}")


def _is_csv(beginning: bytes, _end: bytes) -> bool:
    first_line = beginning.partition(b"\n")[0]
    return beginning[:1] not in b"<{[" and (b"time" in first_line or _TIME.search(first_line) is not None)


def _is_json(beginning: bytes, end: bytes) -> bool:
    closed = (beginning[:1], end[-1:]) in ((b"[", b"]"), (b"{", b"}"))
    return closed and not beginning.startswith(b'{"error"')


def _is_xml(beginning: bytes, end: bytes) -> bool:
    return beginning.startswith(b"<") and _ROOT_END.search(end) is not None


_LOOKS: Mapping[Form, Callable[[bytes, bytes], bool]] = {"csv": _is_csv, "json": _is_json, "xml": _is_xml}
