"""A fake of SMTPeter's API, beside that of Copernica's: log files of the same folder, and the events in them.

Events are told as SMTPeter's article shows them: `start` and `end` are dates in UTC, `end` is not included, and of
more than a month only the first is told, without a word about the rest.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from ingest.copernica.api.logfile_calls import LOG_NAME
from ingest.copernica.logfiles.kinds import KINDS
from ingest.copernica.smtpeter.events import PREFIXES
from ingest.simulation.api_answers import FAULT, refusal, send_file
from ingest.simulation.api_faults import Fault, Kind
from ingest.simulation.api_files import FORMS, rows

#: Where it is.
ROOT = "/v1"
#: The longest period of which events are told.
MONTH = timedelta(days=31)

_FIELD = re.compile(rb"(<\w+>)([^<]*)(</\w+>)")

#: The criteria, and whether a row of a log file fits a value.
CRITERIA: Mapping[str, Callable[[Mapping[str, str], str], bool]] = {
    "messageid": lambda row, value: row.get("id") == value,
    "email": lambda row, value: row.get("recipient", "").lower() == value.lower(),
    "template": lambda row, value: row.get("templateid") == value,
    "tags": lambda row, value: set(value.split(";")) <= set(row.get("tags", "").split(";")),
}


class FakeSMTPeter:
    """What it serves: the log files of a folder that are SMTPeter's."""

    def __init__(self, folder: Path | None, token: str) -> None:
        """`token` is what `access_token` in each URL has to be."""
        self.folder = folder
        self.token = token

    def routes(self) -> Iterator[tuple[Kind, str, Callable[[web.Request], Any]]]:
        """Its requests, below `ROOT`."""
        yield Kind.SMTPETER, "/logfiles", self.dates
        yield Kind.SMTPETER, "/logfiles/{name}", self.list_or_download
        yield Kind.SMTPETER, "/logfiles/{name}/{form:header|json|xml}", self.list_or_download
        yield Kind.EVENTS, "/events/{by}/{value}", self.events

    def has_access(self, request: web.Request) -> bool:
        """Whether a request brings the token."""
        return request.query.get("access_token") == self.token

    def _files(self) -> list[tuple[Path, str, str]]:
        """The files with their kind and day."""
        paths = sorted(self.folder.glob("*.log")) if self.folder else []
        named = [(path, match) for path in paths if (match := LOG_NAME.fullmatch(path.name))]
        return [(path, match[1], match[2]) for path, match in named if match[1] in PREFIXES]

    async def dates(self, _request: web.Request) -> web.Response:
        """The days that have files."""
        return web.json_response(sorted({day for _, _, day in self._files()}))

    async def list_or_download(self, request: web.Request) -> web.StreamResponse:
        """The names of a day's files, or one of them in the form asked for."""
        name, form = request.match_info["name"], request.match_info.get("form", "")
        for path, _, _ in self._files():
            if path.name == name:
                content_type = {"json": "application/json", "xml": "text/xml"}.get(form, "text/csv")
                pieces = _on_lines(path) if form == "xml" else FORMS[_FORMS.get(form, form)](path)
                return await send_file(request, path, pieces, content_type, form == "header")
        if form or _date(name) is None:
            return refusal(404, "No such log file")
        return web.json_response([path.name for path, _, day in self._files() if day == name])

    async def events(self, request: web.Request) -> web.Response:
        """The events that fit a criterion."""
        fits = CRITERIA.get(request.match_info["by"])
        first, end = _date(request.query.get("start", "")), _date(request.query.get("end", ""))
        if fits is None or first is None:
            return refusal(400, "Invalid parameters")
        end = min(end or date.max, first + MONTH)
        value, tags = request.match_info["value"], request.query.get("tags", "")
        found = []
        for path, prefix, day in self._files():
            if not str(first) <= day < str(end):
                continue
            for row in rows(path):
                if fits(row, value) and (not tags or CRITERIA["tags"](row, tags)):
                    data = {name: _as(text, request[FAULT]) for name, text in row.items()}
                    found.append({"event": KINDS[prefix].type, "data": data})
        if request[FAULT] is Fault.NO_ROWS:
            found = []
        return web.Response(body=orjson.dumps(found), content_type="application/json")


_FORMS = {"": "csv", "header": "csv/header"}


def _as(text: str, fault: Fault) -> str | int | None:
    """A value in one of the ways in which it may come."""
    if fault is Fault.NULL or (fault is Fault.BLANK and not text):
        return None
    return int(text) if fault is Fault.NUMBERS and text.isascii() and text.isdigit() else text


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None


def _on_lines(path: Path) -> Iterator[bytes]:
    """XML as SMTPeter's article lays it out: each value on a line of its own."""
    for piece in FORMS["xml"](path):
        yield _FIELD.sub(rb"\1\n      \2\n    \3", piece)
