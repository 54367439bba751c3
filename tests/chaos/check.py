"""The verdict: what is in the database, held against what was sent and what was acknowledged."""

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import psycopg
import pymysql
import redis

from ingest.batch import Record, unpack
from ingest.spool.segment import SegmentName, scan
from tests.chaos.load import Journal, proof
from tests.support.stream import records

#: What the load put into each call, read past the program's own code.
ROWS = {
    "sqlite": (
        "SELECT json_extract(payload, '$.call'), json_extract(payload, '$.proof') "
        "FROM events WHERE source = 'webhook'"
    ),
    "postgresql": "SELECT payload->>'call', payload->>'proof' FROM events WHERE source = 'webhook'",
    "mysql": (
        "SELECT json_value(payload, '$.call'), json_value(payload, '$.proof') FROM events WHERE source = 'webhook'"
    ),
}
#: Of each event: its type, message and second, and where it came from.
HAPPENED = {
    "sqlite": "SELECT type, message_id, substr(occurred_at, 1, 19), source FROM events",
    "postgresql": (
        "SELECT type, message_id, to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), source "
        "FROM events"
    ),
    "mysql": "SELECT type, message_id, left(occurred_at, 19), source FROM events",
}
#: Where calls lie that are not events (yet).
BESIDE = ("quarantine", "unverified")


@dataclass
class Verdict:
    """Calls by their ids, and rows that are not of any call."""

    stored: int = 0
    lost: set[int] = field(default_factory=set)
    doubled: dict[int, int] = field(default_factory=dict)
    never_sent: list[tuple[str | None, str | None]] = field(default_factory=list)
    #: Rows in quarantine or among the unverified: nothing of the load has a reason to be there.
    beside: dict[str, int] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.doubled or self.never_sent or self.beside)

    def __str__(self) -> str:
        said = [
            f"{len(self.lost)} acknowledged calls are not in the database: {_some(sorted(self.lost))}",
            f"{len(self.doubled)} calls are there more than once: {_some(sorted(self.doubled))}",
            f"{len(self.never_sent)} rows are of no call that was sent: {_some(self.never_sent)}",
            f"rows where none should be: {self.beside}",
        ]
        wrong = (self.lost, self.doubled, self.never_sent, self.beside)
        return "; ".join(line for line, any_ in zip(said, wrong, strict=True) if any_) or "all is well"


def judge(url: str, journal: Journal) -> Verdict:
    """Hold the database against the journal."""
    verdict = Verdict()
    found: Counter[int] = Counter()
    for call, shown in calls(url):
        verdict.stored += 1
        number = int(call) if call and call.isdigit() else 0
        if number in journal.sent and shown == proof(journal.seed, number):
            found[number] += 1
        else:
            verdict.never_sent.append((call, shown))
    verdict.lost = journal.acknowledged.keys() - found.keys()
    verdict.doubled = {number: times for number, times in found.items() if times > 1}
    for table in BESIDE:
        ((count,),) = _rows(url, f"SELECT count(*) FROM {table}")
        if int(count or 0):
            verdict.beside[table] = int(count or 0)
    return verdict


def whereabouts(client: redis.Redis, spool: Path) -> dict[int, str]:
    """Where each call is that is on its way to the database: in the stream, or in which file of the spool."""
    kept = dict.fromkeys(map(_call, records(client)), "the stream")
    for path in spool.glob("*.spool"):
        if (name := SegmentName.parse(path.name)) is not None:
            for found in scan(path.read_bytes(), name.sync):
                kept |= dict.fromkeys(map(_call, unpack(found.batch.packed) if found.batch else ()), path.name)
    return kept


def _call(record: Record) -> int:
    match = re.search(rb"&call=(\d+)", record.body)
    return int(match[1]) if match else 0


def calls(url: str) -> Iterator[tuple[str | None, ...]]:
    """Of each event that is stored, the call's id and its proof."""
    return _rows(url, ROWS[url.partition(":")[0]])


def happened_by_store(url: str) -> list[tuple[tuple[str, str, str], str]]:
    """Of each event of a message that is stored, its type, message and second; and where it came from."""
    rows = _rows(url, HAPPENED[url.partition(":")[0]])
    return [((str(kind), message, str(second)), str(source)) for kind, message, second, source in rows if message]


def _rows(url: str, query: str) -> Iterator[tuple[str | None, ...]]:
    """Ask the database itself, with its values as text."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as file:
            yield from map(_as_text, file.execute(query))
    elif url.startswith("mysql"):
        parts = urlsplit(url)
        socket = dict(parse_qsl(parts.query))["unix_socket"]
        user, name = parts.username or "", parts.path[1:]
        with closing(pymysql.connect(unix_socket=socket, user=user, database=name)) as server:
            cursor = server.cursor()
            cursor.execute(query)
            yield from map(_as_text, cursor)
    else:
        with psycopg.connect(url) as connection:
            yield from map(_as_text, connection.execute(query.encode()))


def _as_text(row: Sequence[object]) -> tuple[str | None, ...]:
    return tuple(None if value is None else str(value) for value in row)


def _some(things: Sequence[object]) -> str:
    return ", ".join(str(thing) for thing in things[:10]) + (", …" if len(things) > 10 else "")
