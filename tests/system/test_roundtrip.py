"""From PHP's encoder through the real endpoint, Redis, a drain and the database to a line of JSON, unchanged.

A call is what Copernica's sender makes of its data; what comes out is put together again from the line of JSON
alone, in the few lines of `fields_of`, and must be the same data.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from datetime import datetime
from http.client import HTTPConnection
from typing import Any
from urllib.parse import parse_qsl, quote_plus
from zoneinfo import ZoneInfo

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest.cli.render import events as render
from ingest.simulation.calls import TYPES, payload
from tests.support.has import assert_has
from tests.support.running import answers, free_port, ingest, run, running, until
from tests.support.sql import execute
from workers.drain.drain import Drain
from workers.store.filters import Filter
from workers.store.schema import upgrade
from workers.store.store import Store

Fields = dict[str, Any]

# --- what Copernica does: PHP's http_build_query ---


def urlencoded(text: str) -> str:
    """PHP's `urlencode`, which Python's only differs from in one letter."""
    return quote_plus(text, safe="").replace("~", "%7E")


def http_build_query(fields: Mapping[str, Any], parent: str = "") -> str:
    parts = []
    for key, value in fields.items():
        name = f"{parent}%5B{urlencoded(key)}%5D" if parent else urlencoded(key)
        if isinstance(value, str):
            parts.append(f"{name}={urlencoded(value)}")
        else:
            items = (
                value if isinstance(value, dict) else dict(zip(map(str, range(len(value))), value, strict=True))
            )
            parts.append(http_build_query(items, name))
    return "&".join(parts)


# --- what a user does: the fields again, from one line of `ingest events --format jsonl` ---

TEXTS = {
    "id": "message_id", "recipient": "recipient", "ip": "ip", "original": "url", "useragent": "user_agent",
    "referer": "referer", "extended": "extended", "state": "state", "description": "description",
}  # fmt: skip  # a list to be read across, not a column of single words
NUMBERS = ("profile", "subprofile", "database", "collection", "mailing", "code")


def fields_of(row: Fields) -> Fields:
    fields = {name: row[column] for name, column in TEXTS.items()}
    fields |= {name: str(row[name]) for name in NUMBERS if row[name] is not None}
    if row["type"] != "unknown":
        fields["type"] = row["type"].rpartition("-")[2]
    fields["time"] = str(int(datetime.fromisoformat(row["occurred_at"]).timestamp()))
    fields["tags"] = row["tags"] or None
    fields |= row["payload"]
    return {name: value for name, value in fields.items() if value is not None}


def as_php_reads(value: Any) -> Any:
    """Maps whose keys count from 0 are lists: PHP has one kind of array, so a form cannot tell them apart."""
    if isinstance(value, list):
        return [as_php_reads(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value and list(value) == [str(place) for place in range(len(value))]:
        return [as_php_reads(item) for item in value.values()]
    return {name: as_php_reads(item) for name, item in value.items()}


# --- what there is to send ---

AWKWARD = (
    "", " ", "+", "%", "&", "=", "%00", "%2B", "a+b c", "a&b=c", "a\r\nb\n", "\t", "\0", "\x1e\x1f", "~-_.", "[]",
    "a[b]", "0", "007", "-1", "1.0", "999999999999999999", "9" * 19, "9" * 40, "null", "true", "NaN", "{}",
    "\\u0000", "café", "\u00a0", "e\u0301", "😀", "\U0010ffff", "\ufeff", "\ufffd", "\u2028", "\ud7ff", "עברית",
    "'", '"', "\\",
    "jan+nieuws@example.nl", "1795165964", "4102444800", "2026-11-20 09:12:44", "0000-00-00", "1e9", "x" * 3000,
)  # fmt: skip  # a list to be read across, not a column of single words
texts = st.one_of(st.sampled_from(AWKWARD), st.text(max_size=20), st.integers(0, 10**19).map(str))
#: Names that have no brackets of their own, which PHP would not read as they were written.
names = st.one_of(
    st.sampled_from(("name", "email", "0", "1", "2", "10", "a b", "a.b", "é", "+", "&", "=", " ", "type", "time")),
    st.text(st.characters(exclude_characters="[]", exclude_categories=["Cs"]), min_size=1, max_size=8),
)
lists = st.lists(texts, min_size=1, max_size=4)
maps = st.dictionaries(
    names,
    st.one_of(texts, texts, lists, st.dictionaries(names, st.one_of(texts, lists), min_size=1, max_size=3)),
    min_size=1,
    max_size=4,
)
BY_NAME = {"tags": lists, "fields": maps, "interests": maps, "parameters": maps}


def documented(kind: str) -> dict[str, str]:
    """The fields of a type, without `type` itself, which every documented call has."""
    body = parse_qsl(payload(kind).decode(), keep_blank_values=True)
    return {name.partition("[")[0]: value for name, value in body if name != "type"}


def whole(kind: str) -> Fields:
    """All of them, lists and maps as such."""
    fields: Fields = dict(documented(kind))
    for name in BY_NAME.keys() & fields:
        value = fields[name]
        fields[name] = [value, "b"] if name == "tags" else {"name": value, "address": {"city": value}}
    return fields


@st.composite
def calls(draw: st.DrawFn) -> Fields:
    """Any type with any of its fields, in any order."""
    kind = draw(st.sampled_from([*TYPES, "unknown"]))
    if kind == "unknown":
        sent = draw(st.dictionaries(st.sampled_from(("type", "action", "x", "naam", *TEXTS, *NUMBERS)), texts))
        return sent | draw(st.fixed_dictionaries({}, optional={name: BY_NAME[name] for name in BY_NAME}))
    usual = documented(kind)
    values = {name: BY_NAME.get(name, st.one_of(st.just(value), texts)) for name, value in usual.items()}
    chosen = draw(st.lists(st.sampled_from(sorted(values)), unique=True))
    fields = {"type": kind.rpartition("-")[2], **{name: draw(values[name]) for name in chosen}}
    return dict(draw(st.permutations(list(fields.items()))))


# --- the way there and back ---


@pytest.fixture(scope="module")
def port(valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real endpoint."""
    folder, port = tmp_path_factory.mktemp("endpoint"), free_port()
    url = f"sqlite:///{folder}/unused.db"
    upgrade(url)
    environ = {"REDIS_URL": valkey_server, "DATABASE_URL": url, "PORT": str(port), "INGEST_VERIFY": "off"}
    with running(ingest("serve"), environ, folder / "log") as process:
        until(lambda: answers(port), "the endpoint")
        yield port
    assert "Traceback" not in process.output


def send(port: int, sent: list[Fields]) -> None:
    """Each call to a path of its own, by which it is known again."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for number, fields in enumerate(sent):
        connection.request("POST", f"/copernica/e{number}", http_build_query(fields).encode(), headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.close()


def came_back(lines: str) -> list[Fields]:
    """In the order in which they were sent."""
    rows = sorted((json.loads(line) for line in lines.split("\n") if line), key=lambda row: int(row["path"][12:]))
    assert [row["path"] for row in rows] == [f"/copernica/e{number}" for number in range(len(rows))]
    return rows


#: One of everything, with what is most likely to be lost on the way.
SAMPLES: list[Fields] = [
    *({"type": kind.rpartition("-")[2], **whole(kind)} for kind in TYPES),
    *({"type": "open", "id": text, "recipient": text, "tags": [text, "x"], "time": text} for text in AWKWARD),
    *(
        {"type": "create", "profile": "1", "fields": {text or "-": {"a": text}}}
        for text in AWKWARD
        if "[" not in text
    ),
    *({"type": text, "code": text, "profile": text, "x": text} for text in AWKWARD),
    {"type": "update", "subprofile": "3", "fields": {"0": "a", "1": {"b": ["c", "d"]}}, "parameters": {"2": "x"}},
    {"type": "open", "code": "250", "recipient": "jan@example.nl"},  # a delivery, in the words of one article
    {"action": "failed", "id": "1"},
    {},
]


@settings(suppress_health_check=list(HealthCheck))
@given(sent=st.lists(calls(), min_size=1, max_size=50))
@example(sent=SAMPLES)
def test_every_field_comes_back_as_it_was_sent(
    sent: list[Fields], port: int, redis_url: str, client: redis.Redis, store: Store
) -> None:
    execute(store, "DELETE FROM events")  # of the example before this one
    send(port, sent)
    done = Drain(client, store).run()
    assert_has(done, stored=len(sent), quarantined=0, doubles=0, dead=0)
    with redirect_stdout(io.StringIO()) as out:
        render.events(store.find(Filter()), "jsonl", ZoneInfo("UTC"))
    rows = came_back(out.getvalue())
    assert [fields_of(row) for row in rows] == as_php_reads(sent)
    assert [
        event.fields for event in sorted(store.find(Filter()), key=lambda e: int(e.path[12:]))
    ] == as_php_reads(sent)
    for row, fields in zip(rows, sent, strict=True):
        assert (
            row["type"] == "unknown"
            or row["type"].rpartition("-")[2] in {fields.get("type"), "delivery"}
            or (
                # Spelt otherwise: then the payload says how.
                row["payload"]["type"] == fields.get("type")
            )
        )


def test_every_field_comes_back_from_the_command_as_typed(
    port: int, redis_url: str, client: redis.Redis, database: str, store: Store
) -> None:
    send(port, SAMPLES)
    assert Drain(client, store).run().stored == len(SAMPLES)
    shown = run("events", "--format", "jsonl", environ={"REDIS_URL": redis_url, "DATABASE_URL": database})
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [fields_of(row) for row in came_back(shown.stdout)] == as_php_reads(SAMPLES)


def test_our_encoder_writes_what_php_writes() -> None:
    """PHP's manual: all but letters, digits and `-_.` is escaped, brackets too, and spaces become plus signs."""
    assert http_build_query({"a": "x y~z", "b": ["1", "é"]}) == "a=x+y%7Ez&b%5B0%5D=1&b%5B1%5D=%C3%A9"
    assert http_build_query({"fields": {"a b": {"c": "*'()"}}}) == "fields%5Ba+b%5D%5Bc%5D=%2A%27%28%29"
