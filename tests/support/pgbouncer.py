"""A real PgBouncer in front of a test's PostgreSQL: connections are shared, transaction by transaction."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.support.postgres import USER, Server
from tests.support.running import free_port, running, until

#: Server connections that all clients of a database share: so few that none may need two at once.
POOL = 2


def binary() -> str | None:
    """Where it is; None if the machine has none."""
    return shutil.which("pgbouncer")


@contextmanager
def pgbouncer(server: Server) -> Iterator[str]:
    """One for as long as the block runs; the URL of the database `postgres` through it."""
    folder = Path(tempfile.mkdtemp(prefix="pgb-"))
    port = free_port()
    try:
        (folder / "users.txt").write_text(f'"{USER}" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={server.folder}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {folder}/users.txt\n"
            f"pool_mode = transaction\ndefault_pool_size = {POOL}\nmax_client_conn = 100\n"
            "server_login_retry = 1\n"
        )
        more: dict[str, Any] = {}
        if os.getuid() == 0:  # it refuses to run as root
            folder.chmod(0o755)
            for file in folder.iterdir():  # a command that was tried in this process has changed its umask
                file.chmod(0o644)
            more = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        program = binary()
        assert program is not None
        url = f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        with running([program, str(folder / "pgbouncer.ini")], {}, folder / "log", folder, **more):
            until(lambda: _answers(url), "PgBouncer")
            yield url
    finally:
        shutil.rmtree(folder)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
