"""Targets that read what Copernica's API answers, and what browsers and people at a prompt send."""

import io
import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import MultiDict

from ingest.console.reading import READING
from ingest.console.seals import SEALS, Seals
from ingest.console.sessions import Role, Session, Signer
from ingest.console.wanted import LONGEST, Wanted, wanted_of
from ingest.console.ways import own
from ingest.copernica.api.answers import NotJson, json_of
from ingest.copernica.api.destinations import read_destination
from ingest.copernica.api.paging import row
from ingest.copernica.api.results import Product, result
from ingest.copernica.api.statistics import read_emailing, read_totals
from ingest.copernica.api.values import MAX_NUMBER
from ingest.copernica.event_types import EventType
from ingest.copernica.logfiles.rows import Damage
from ingest.copernica.smtpeter import events as smtpeter_events
from ingest.copernica.user_agents import reader_of
from workers.operations import audit
from workers.store.rows import json_text
from workers.store.search import Place

NOW = 1_800_000_000
#: Characters of a name that we show of a program, a system or a proxy: they are ours, with a version.
NAME = 400


def rest_answer(data: bytes) -> None:
    """An answer in JSON, or each entry of a list: what is read of it has an ID that fits, and can be stored."""
    try:
        content = json_of(data)
    except NotJson:
        return
    for entry in [content, *(content if isinstance(content, list) else ())]:
        assert row(entry).key == row(entry).key
        found: tuple[Any, ...] = (
            result(Product.MARKETING_SUITE, EventType.OPEN, entry),
            read_destination(entry),
            read_emailing(entry),
        )
        for one in filter(None, found):
            assert 1 <= one.id <= MAX_NUMBER
            json.loads(json_text(one.fields) or "null")
        for number in read_totals(entry):
            assert number is None or 0 <= number <= MAX_NUMBER


def smtpeter_answer(data: bytes) -> None:
    """What SMTPeter tells: each entry is an event that can be stored or a damage, numbered in their order."""
    told = list(smtpeter_events.read(io.BytesIO(data)))
    for one in told:
        if not isinstance(one, Damage):
            assert one.data
            assert one.type
    assert all(a.number <= b.number for a, b in pairwise(one for one in told if not isinstance(one, Damage)))


SIGNER = Signer(b"key", {Role.OPERATOR: "een-lang-wachtwoord"})
COOKIE = SIGNER.cookie(Session(bytes(16), Role.OPERATOR, NOW, NOW, "nl"))


def cookie(data: bytes) -> None:
    """A cookie, or a genuine one with some of its signs changed: ours is the session we made, all else is none."""
    text, at = data[1:].decode("utf-8", "surrogateescape"), data[0] if data else 0
    assert SIGNER.read(text, NOW) is None
    read = SIGNER.read(COOKIE[:at] + text + COOKIE[at + len(text) :], NOW)
    assert read is None or SIGNER.cookie(read) == COOKIE


def question(data: bytes) -> None:
    """The query of the page of events: it is understood or left out, and its links ask for the same again."""
    text = data.decode("utf-8", "surrogateescape")
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    wanted = _wanted(pairs)
    again = _wanted(parse_qsl(wanted.query(), keep_blank_values=True))
    assert (wanted.given, wanted.types, wanted.columns) == (again.given, again.types, again.columns)
    assert wanted.given.keys() & {"last"} or wanted.filter == again.filter
    assert all(len(value) <= LONGEST for value in wanted.given.values())
    json.dumps(dict(wanted.noted))
    if (place := Place.read(text)) is not None:
        assert Place.read(str(place)) == place
    page = own(text)
    assert page.startswith("/")
    assert not page.startswith(("//", "/\\"))


def _wanted(pairs: list[tuple[str, str]]) -> Wanted:
    reading = SimpleNamespace(settings=SimpleNamespace(timezone="UTC"))
    request: Any = SimpleNamespace(query=MultiDict(pairs), app={READING: reading, SEALS: Seals(b"key")})
    return wanted_of(cast(web.Request, request))


def user_agent(data: bytes) -> None:
    """What a program says of itself: words of ours, and at most a version of it."""
    read = reader_of(data.decode("utf-8", "replace"))
    assert all(len(part) <= NAME and part.isprintable() for part in read)


def audit_argument(data: bytes) -> None:
    """What somebody typed, as it stays in the audit: storable, short, and without any address."""
    text = data.decode("utf-8", "surrogateescape")
    kept = audit._kept({"one": text, "list": [text], "inner": {"recipient": text}})
    written = json_text(kept) or ""
    assert "@" not in written
    assert "%40" not in written
    assert kept["inner"] in ({"recipient": audit.PERSON}, {"recipient": None}, {"recipient": ""}), kept["inner"]
    assert len(str(kept["one"])) <= audit.LONGEST + 1
