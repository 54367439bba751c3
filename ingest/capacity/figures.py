"""What was measured on one machine: the figures that a plan is made from."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from ingest.errors import SettingsError

#: Bytes of the largest file of figures that is read: one of `make bench` has some 40,000.
LARGEST_FILE = 4 * 1024 * 1024
#: What a figure may be: less or more is a mistake in the file.
LEAST, MOST = 1e-3, 1e6
#: How often a server writes each byte of table and index, beside its log: once more when a page that was written
#: already gets another row. MariaDB writes each page twice (`innodb_doublewrite`).
REWRITTEN, DOUBLE = 2, 2
#: Figures that older files lack: what is packaged stands for them.
SINCE = ("mariadb_us", "mariadb_server_us", "mariadb_bytes", "redo_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Processor time in µs, and bytes; each for one event."""

    #: Where and when they were measured.
    machine: str
    date: str
    #: An endpoint process takes a call, its signature checked, at full rate.
    endpoint_us: float
    #: Redis takes it, in a batch with others; and gives it to a drain, and forgets it.
    append_us: float
    claim_us: float
    #: A worker drains it into SQLite, the database's own work included; or into PostgreSQL, or MariaDB, whose work
    #: is apart.
    sqlite_us: float
    postgresql_us: float
    server_us: float
    mariadb_us: float
    mariadb_server_us: float
    #: A worker calls a handler with it that does nothing.
    handler_us: float
    #: In Redis' memory while it waits, and in its append-only file.
    stream_bytes: float
    log_bytes: float
    #: In the database, with all indexes and numbers; and in PostgreSQL's write-ahead log, or MariaDB's redo log.
    sqlite_bytes: float
    postgresql_bytes: float
    wal_bytes: float
    mariadb_bytes: float
    redo_bytes: float
    #: On the wire: head and body of a call, and the answer.
    call_bytes: float

    @classmethod
    def of(cls, given: object, source: str) -> Self:
        """Figures from JSON: all of them, those that `--json` prints within a plan, or what `make bench` wrote.

        Raises:
            SettingsError: some are missing, or are no figures.
        """
        if isinstance(given, dict) and isinstance(given.get("figures"), dict):
            given = given["figures"]
        if isinstance(given, dict) and isinstance(given.get("rows"), list):
            return replace(PACKAGED, **_benched(given, source))  # type: ignore[return-value]
        if not isinstance(given, dict):
            raise SettingsError(f"{source} holds no figures: `ingest plan --measure --json` prints some.")
        given = {name: getattr(PACKAGED, name) for name in SINCE} | given
        missing = [each.name for each in fields(cls) if each.name not in given]
        if missing:
            raise SettingsError(
                f"{source} lacks {', '.join(missing)}: `ingest plan --measure --json` prints all figures."
            )
        values = {each.name: given[each.name] for each in fields(cls)}
        for name, value in values.items():
            if name in ("machine", "date"):
                values[name] = str(value)[:200]
            else:
                values[name] = _figure(name, value, source)
        return cls(**values)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Figures from a file.

        Raises:
            SettingsError: there is none that could be read, or it holds none.
        """
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
        except OSError as error:
            raise SettingsError(f"The figures in {path} cannot be read: {error.strerror}.") from None
        if len(content) > LARGEST_FILE:
            raise SettingsError(f"{path} is larger than any file of figures: name one of `ingest plan --json`.")
        try:
            given = json.loads(content)
        except (ValueError, RecursionError):
            raise SettingsError(f"{path} is no JSON: `ingest plan --measure --json` prints figures.") from None
        return cls.of(given, str(path))

    def as_json(self) -> dict[str, Any]:
        """As a file of figures has them."""
        return asdict(self)


class Costs(NamedTuple):
    """What one kind of database takes of an event; the names that people know it by."""

    shown: str
    worker_us: float
    #: Of its server; 0 where the worker does its work.
    server_us: float
    stored_bytes: float
    log_bytes: float
    #: How often its server writes each byte of table and index, beside its log.
    written: int


def costs_of(database: str, figures: Figures) -> Costs:
    """What an event takes of `sqlite`, `postgresql` or `mariadb`."""
    if database == "sqlite":
        return Costs("SQLite", figures.sqlite_us, 0.0, figures.sqlite_bytes, 0.0, 1)
    if database == "mariadb":
        stored, log = figures.mariadb_bytes, figures.redo_bytes
        return Costs("MariaDB", figures.mariadb_us, figures.mariadb_server_us, stored, log, DOUBLE * REWRITTEN)
    stored, log = figures.postgresql_bytes, figures.wal_bytes
    return Costs("PostgreSQL", figures.postgresql_us, figures.server_us, stored, log, REWRITTEN)


def _figure(name: str, value: object, source: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST <= value <= MOST:
        raise SettingsError(
            f"{source} says {name}: {json.dumps(value)[:40]}, which is no number that can be right."
        )
    return float(value)


#: Rows of `make bench`, by what they measure and beside what, and which figure each is.
BENCHED = MappingProxyType(
    {
        ("CPU at full rate, µs/call", "ours, not verifying"): "endpoint_us",
        ("Redis CPU, µs/call", "an RQ job per call"): "append_us",
        ("worker CPU, µs/event", "RQ SimpleWorker"): "sqlite_us",
        ("worker CPU, µs/event", "ours into SQLite"): "postgresql_us",
        ("PostgreSQL's own CPU, µs/event", "the worker's"): "server_us",
        ("MariaDB's own CPU, µs/event", "the worker's"): "mariadb_server_us",
        ("worker CPU, µs/event", "RQ SimpleWorker, a job per event"): "handler_us",
        ("Redis memory, bytes/event", "an RQ job per call"): "stream_bytes",
        ("stream alone, bytes/event", None): "log_bytes",
    }
)


def _benched(given: dict[str, Any], source: str) -> dict[str, Any]:
    """What a file of `make bench` says; the other figures are the packaged ones."""
    found: dict[str, Any] = {}
    try:
        for row in given["rows"]:
            name = BENCHED.get((row["name"], row["baseline"]))
            if name is not None and name not in found:  # the first: a later one of the same name is of batches
                found[name] = _figure(name, row["ours"]["median"], source)
        machine = given["machine"]
        found["machine"] = (
            f"{machine['cores']} cores of {machine['cpu']} (make bench; the rest: {PACKAGED.machine})"
        )
        found["date"] = str(given.get("conditions", {}).get("date", "unknown"))
    except (KeyError, TypeError, AttributeError):
        raise SettingsError(f"{source} is not what `make bench` writes: run it again.") from None
    return found


#: Measured by `make bench` and as docs/capacity.md says, on a machine half as fast as that of docs/performance.md.
PACKAGED = Figures(
    machine="2 cores of a shared Intel Xeon, Debian 12, Python 3.11, Valkey 9.1, PostgreSQL 15",
    date="2026-11-22",
    endpoint_us=61.9,
    append_us=6.1,
    claim_us=0.5,
    sqlite_us=28.9,
    postgresql_us=23.1,
    server_us=9.4,
    mariadb_us=31.5,
    mariadb_server_us=25.0,
    handler_us=25.9,
    stream_bytes=83.0,
    log_bytes=80.4,
    sqlite_bytes=447.0,
    postgresql_bytes=432.0,
    wal_bytes=514.0,
    mariadb_bytes=441.0,
    redo_bytes=867.0,
    call_bytes=1080.0,
)
