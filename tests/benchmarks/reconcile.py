"""How fast a day is reconciled, and in how much memory: millions of opens, of which a tenth was lost.

Beside it stands what cannot be done without: reading the same log file with Python's own CSV reader.
"""

import csv
import json
import random
import shutil
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

from ingest.copernica.events import MICROS, EventType, decode
from ingest.copernica.logfiles.kinds import KINDS
from tests.benchmarks import plan
from tests.benchmarks.machine import peak_memory
from tests.benchmarks.plan import Plan, Step
from tests.benchmarks.report import Goal, Row, Spread
from tests.benchmarks.servers import ROOT, python, scratch
from workers.reconcile.logfile import LogFile
from workers.reconcile.recovery import Recovery, RecoveryOptions
from workers.reconcile.report import DayReport
from workers.store.schema import upgrade
from workers.store.store import Store

READER = "csv.reader over the file"
DAY = date(2026, 11, 20)
PREFIX = "cdm-impression"
#: One in so many events was lost.
LOST = 10
CHUNK = 25_000
#: Seconds that it may take.
PATIENCE = 1800.0
HEADER = (
    "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)\r\nReferer: https://mail.example.nl/\r\n"
)


def reconcile(size: Plan, step: Step) -> list[Row]:
    """Fill a database and a log file once, then reconcile; each round with a copy of the database."""
    rates, theirs, peaks = [], [], []
    with scratch() as folder:
        filled, path = folder / "filled.db", folder / f"{PREFIX}.{DAY}.log"
        with step(f"writing a day of {size.logged:,} opens"):
            _fill(f"sqlite:///{filled}", path, size.logged)
        for _ in range(size.repeat):
            database = shutil.copy(filled, folder / "events.db")
            with step("csv.reader: reading it"):
                theirs.append(size.logged / _read(path))
            with step("ours: reconciling it"):
                done = _reconciled(f"sqlite:///{database}", path)
            assert done["recovered"] == -(-size.logged // LOST), done
            rates.append(size.logged / done["seconds"])
            peaks.append(done["peak"] / 1024**2)
    return [
        Row("lines of a log file reconciled/s", Spread(rates), READER, Spread(theirs)),
        Row("peak memory, MiB", Spread(peaks), goal=Goal("< 300", lambda mine, _: mine < 300)),
    ]


def _fill(database: str, path: Path, events: int) -> None:
    upgrade(database)
    store = Store.open(database)
    draw = random.Random(plan.SEED)
    first = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp())
    blank = decode(b"type=open&id=m&useragent=Mozilla/5.0", "application/x-www-form-urlencoded", plan.PATH, 0)
    columns = KINDS[PREFIX].columns
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for start in range(0, events, CHUNK):
            stored = []
            for number in range(start, min(start + CHUNK, events)):
                second = first + number * 86_400 // events
                message, person = f"{draw.getrandbits(48):012x}", f"jan{draw.getrandbits(20)}@example.nl"
                ip = f"198.51.{draw.getrandbits(8)}.{draw.getrandbits(8)}"
                told = {"id": message, "email": person, "ip": ip, "header": HEADER, "tags": "nieuwsbrief;november"}
                told["time"] = f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S}"
                writer.writerow([told.get(column, "") for column in columns])
                if number % LOST:
                    event = blank._replace(
                        delivery_id=second.to_bytes(4, "big") + draw.randbytes(8),
                        type=EventType.OPEN,
                        message_id=message,
                        recipient=person,
                        ip=ip,
                        occurred_at=second * MICROS,
                        received_at=second * MICROS + 1,
                    )
                    stored.append(event)
            store.add(stored)
    store.tidy()
    store.close()


def _read(path: Path) -> float:
    began = time.perf_counter()
    with path.open(newline="") as file:
        lines = sum(1 for _ in csv.reader(file))
    assert lines
    return time.perf_counter() - began


def _reconciled(database: str, path: Path) -> dict[str, float]:
    done = subprocess.run(
        python("reconcile", database, str(path)), cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=PATIENCE
    )
    said: dict[str, float] = json.loads(done.stdout)
    return said


def _main(database: str, path: Path) -> None:
    store = Store.open(database)
    report = DayReport(DAY)
    began = time.perf_counter()
    file = LogFile(path.name, KINDS[PREFIX], DAY, lambda: path.open("rb"), path.stat().st_size)
    Recovery(store, RecoveryOptions(hand_on=True), lambda *_: None).day(report, [file])
    seconds = time.perf_counter() - began
    store.close()
    assert report.ok, report.why
    print(json.dumps({"recovered": report.total("recovered"), "seconds": seconds, "peak": peak_memory()}))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
