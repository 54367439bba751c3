"""A truth as large as a large mailing's, made without the simulator: one mailing, and results over some hours."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ingest.simulation.truth import FILE, Destination, Truth

MAILING = 90210
#: When the mailing began, in Unix seconds: 2026-11-20 09:00:00 UTC.
BEGAN = 1_795_165_200
#: The number of the first message; those of the others follow.
FIRST = 1_000_000_000
KINDS = ("impressions", "clicks", "deliveries")


def message_id(place: int) -> str:
    """The hash of a message by its place in the mailing."""
    return f"{place * 7919:012x}"


def large_truth(folder: Path, messages: int, results: int, per_second: int = 100) -> None:
    """Fill a folder: all messages are sent at the beginning, results follow, so many per second."""
    draw = random.Random(1)

    def sent() -> Iterator[Destination]:
        for place in range(messages):
            address = f"{place}@example.nl"
            yield Destination(
                "ms", FIRST + place, message_id(place), MAILING, BEGAN + place // 1000, place + 1, None, address
            )

    def happened() -> Iterator[tuple[object, ...]]:
        told = b'{"ip":"192.0.2.1","useragent":"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:115.0) Gecko/20100101"}'
        for number in range(results):
            kind, second = KINDS[number % len(KINDS)], BEGAN + number // per_second
            message = FIRST + draw.randrange(messages)
            yield "ms", kind, number // len(KINDS) + 1, second, message, MAILING, told

    Truth(folder).close()
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as db:
        # Indexes that are made at the end take a quarter of the time, and so does what triggers would do.
        made = db.execute("SELECT type, name FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql <> ''")
        for kind, name in made.fetchall():
            db.execute(f"DROP {kind} {name}")
        db.execute("BEGIN")
        db.executemany("INSERT INTO destinations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", sent())
        db.executemany("INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?)", happened())
        db.execute("INSERT INTO mailings SELECT product, mailing, min(second), count(*) FROM destinations")
        db.execute(
            "INSERT INTO profiles (kind, id, parent, fields, created, modified) "
            "SELECT 'profile', profile, 7, json_object('email', recipient), second, second FROM destinations"
        )
        db.execute("COMMIT")
    Truth(folder).close()
