"""A real MariaDB server for tests and benchmarks, in a folder of its own, which only a socket leads to.

Debian's package `mariadb-server` has it. As root the server runs as `nobody`, as PostgreSQL's does.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql

from tests.support.running import Process, until
from workers.store.schema import upgrade

#: What the server says when it takes connections.
READY = "ready for connections"
#: Who may do everything; without a password, since the socket is ours alone.
USER = "root"
#: For tests: nothing survives the server, so nothing need reach the disk.
HASTY = {
    "innodb_flush_log_at_trx_commit": "0",
    "innodb_doublewrite": "0",
    "innodb_flush_method": "nosync",
    "innodb_buffer_pool_size": "64M",
    "innodb_log_file_size": "32M",
    "performance_schema": "OFF",
    "max_allowed_packet": "64M",  # as docs/mariadb.md has it
}


def binaries() -> Path | None:
    """The folder that holds `mariadbd`; None if there is none."""
    for name in ("/usr/sbin/mariadbd", shutil.which("mariadbd") or ""):
        if name and Path(name).exists():
            return Path(name).resolve().parent
    return None


class Server:
    """One server in one folder; it can be stopped, killed and started again."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self._settings = settings
        self.popen: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        if os.getuid() != 0:
            self.popen = {}
        else:
            folder.chmod(0o755)
            shutil.chown(folder, "nobody", "nogroup")
        self._process: Process | None = None
        self._started = 0
        installed = subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={folder / 'data'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
                "--innodb-flush-method=nosync",
                f"--tmpdir={folder}",
            ],
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
            **self.popen,
        )
        assert installed.returncode == 0, installed.stdout + installed.stderr

    @property
    def socket(self) -> Path:
        return self.folder / "maria.sock"

    def argv(self) -> list[str]:
        """The command that starts it."""
        folder = binaries()
        assert folder is not None
        own = [
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.socket}",
            "--skip-networking",
        ]
        own += [f"--pid-file={self.folder / 'maria.pid'}", f"--tmpdir={self.folder}", "--skip-log-bin"]
        return [str(folder / "mariadbd"), *own, *(f"--{name}={value}" for name, value in self._settings.items())]

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = Process(self.argv(), {}, self.folder / "maria.log", self.folder, **self.popen)
        until(self._answers, "MariaDB")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.alive, self._process.output
        # Not before: the library does not close a Unix socket at which nobody listens.
        if self.socket.exists() and self._process.output.count(READY) > self._started:
            self.connect().close()
            self._started += 1
            return True
        return False

    def connect(self, database: str | None = None, user: str = USER) -> "pymysql.Connection[Any]":
        return pymysql.connect(unix_socket=str(self.socket), user=user, database=database, autocommit=True)

    def execute(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """What the last of these statements gives."""
        with closing(self.connect(database)) as connection:
            return [_rows(connection, statement) for statement in statements][-1]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it: SIGTERM shuts it down properly, SIGKILL crashes it."""
        if self._process is not None and self._process.alive:
            self._process.send(how)
            self._process.wait()

    def url(self, database: str, user: str = USER) -> str:
        """What `DATABASE_URL` takes."""
        return f"mysql://{user}@localhost/{database}?unix_socket={self.socket}"

    def new_database(self, name: str) -> str:
        """An empty database; its URL."""
        self.execute(f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")
        return self.url(name)


class EmptyMaria:
    """One database with our tables and nothing in them, given to one test after the other.

    Making it takes seconds, emptying it a tenth of one. So it is only made again when a test has changed the
    tables themselves. Rows do not count from 1 again, which would take longer than all else.
    """

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name
        self._shape: object = None

    def url(self) -> str:
        """Empty it; the URL that `DATABASE_URL` takes."""
        url = self._server.url(self._name)
        if self._shape is None or not self._emptied():
            upgrade(self._server.new_database(self._name))
            with closing(self._server.connect(self._name)) as connection:
                self._shape = self._shaped(connection)
        return url

    def _shaped(self, connection: "pymysql.Connection[Any]") -> object:
        return [_rows(connection, query.format(name=self._name)) for query in SHAPE]

    def _emptied(self) -> bool:
        with closing(self._server.connect(self._name)) as connection:
            _end_others(connection)
            if self._shaped(connection) != self._shape:
                return False
            tables = [name for (name,) in _rows(connection, TABLES.format(name=self._name))]
            wanted = [name for name in tables if name not in ("turns", "alembic_version")]
            some = " UNION ALL ".join(f"(SELECT '{name}' FROM {name} LIMIT 1)" for name in wanted)
            for (name,) in _rows(connection, some):
                _rows(connection, f"DELETE FROM {name}")
            _rows(connection, "DELETE FROM turns WHERE name LIKE 'ingest handler %'")
        return True


def _rows(connection: "pymysql.Connection[Any]", statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _end_others(connection: "pymysql.Connection[Any]") -> None:
    """End what a test has left connected; it may hold locks."""
    query = (
        "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id() "
        "AND command <> 'Killed'"
    )
    for (number,) in _rows(connection, query):
        with suppress(pymysql.MySQLError):  # it has ended just now
            _rows(connection, f"KILL {number}")
    until(lambda: not _rows(connection, query), "the connections of a test to end")


TABLES = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = '{name}' AND table_type = 'BASE TABLE'"
)
#: All that a test can change besides rows.
SHAPE = [
    "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = '{name}' ORDER BY table_name",
    "SELECT table_name, column_name, column_type, is_nullable FROM information_schema.columns "
    "WHERE table_schema = '{name}' ORDER BY table_name, ordinal_position",
    "SELECT table_name, partition_name FROM information_schema.partitions WHERE table_schema = '{name}' "
    "ORDER BY table_name, partition_ordinal_position",
    "SELECT constraint_name FROM information_schema.table_constraints WHERE table_schema = '{name}' "
    "ORDER BY table_name, constraint_name",
    "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = '{name}'",
    "SELECT table_name, index_name FROM information_schema.statistics WHERE table_schema = '{name}' "
    "ORDER BY table_name, index_name, seq_in_index",
    "SELECT count(*) FROM mysql.global_priv",
    "SELECT * FROM {name}.alembic_version",
]


@contextmanager
def mariadb(settings: dict[str, str] | None = None) -> Iterator[Server]:
    """A server for as long as the block runs; with `HASTY` settings unless others are named."""
    folder = Path(tempfile.mkdtemp(prefix="maria-"))
    server: Server | None = None
    try:
        server = Server(folder, HASTY if settings is None else settings)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop(signal.SIGKILL if settings is None else signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)
