"""A database whose machine is gone without a word: whoever waits for its answer learns of it."""

import asyncio
import contextlib
import pwd
import random
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pymysql
import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from tests.chaos.network import CUT, OUTSIDE, Network, between, in_own_network, why_none
from tests.support import mariadb, postgres
from tests.support.running import PATIENCE, Process
from workers.store import keepalive
from workers.store.dialects import backend_for

#: A statement that takes longer than any test.
ENDLESS = {"postgresql": "SELECT pg_sleep(3600)", "mysql": "SELECT sleep(3600)"}


def test_libpq_is_told_when_a_server_is_gone_unless_the_url_says_it() -> None:
    engine = backend_for("postgresql://h/d?keepalives_idle=5").engine()
    told: dict[str, object] = {}

    @event.listens_for(engine, "do_connect")
    def _connecting(_dialect: object, _record: object, _args: object, settings: dict[str, object]) -> None:
        told.update(settings)
        raise psycopg.OperationalError

    with pytest.raises(OperationalError):
        engine.connect()
    assert told["keepalives_idle"] == "5"
    assert (told["keepalives_interval"], told["keepalives_count"]) == (keepalive.EVERY, keepalive.TIMES)
    assert told["tcp_user_timeout"] == keepalive.UNCONFIRMED * 1000


def test_a_connection_by_tcp_is_watched_and_a_unix_socket_needs_it_not() -> None:
    with socket.socket() as sock, socket.socket(socket.AF_UNIX) as unix:
        keepalive.watch(sock)
        keepalive.watch(unix)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == keepalive.EVERY


class Remote:
    """A database server on a machine of its own, which is also reached by its Unix socket."""

    def __init__(self, kind: str, network: Network, folder: Path) -> None:
        self.kind = kind
        self._server: postgres.Server | mariadb.Server
        at = network.address("database")
        if kind == "postgresql":
            self._server = postgres.Server(folder, {**postgres.HASTY, "listen_addresses": "*"})
            with (folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all trust\n")
            self.url = f"postgresql://{postgres.USER}@{at}/postgres"
        else:
            self._server = mariadb.Server(folder, {**mariadb.HASTY, "skip-networking": "0"})
            self.url = f"mysql://{mariadb.USER}@{at}/mysql"
        user = pwd.getpwnam(str(self._server.popen["user"]))
        options = f"--setuid={user.pw_uid}", f"--setgid={user.pw_gid}"
        self._argv = network.inside("database", self._server.argv(), *options)
        self._folder = folder

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        process = Process(self._argv, {}, self._folder / "server.log", self._folder)
        try:
            yield
        finally:
            process.send(signal.SIGKILL)
            process.wait()

    def look(self) -> bool:
        """Whether somebody waits for the end of the endless statement; lets in who comes by TCP."""
        try:
            if isinstance(self._server, postgres.Server):
                with psycopg.connect(self._server.dsn("postgres")) as connection:
                    asked = "SELECT count(*) FROM pg_stat_activity WHERE query = %s"
                    found = connection.execute(asked, [ENDLESS[self.kind]]).fetchone()
                    return found is not None and bool(found[0])
            if not self._server.socket.exists():
                return False
            self._server.execute(
                f"CREATE USER IF NOT EXISTS {mariadb.USER}@'%'", f"GRANT ALL ON *.* TO {mariadb.USER}@'%'"
            )
            asked = f"SELECT 1 FROM information_schema.processlist WHERE info = '{ENDLESS[self.kind]}'"
            return bool(self._server.execute(asked))
        except (psycopg.OperationalError, pymysql.OperationalError):
            return False

    def wait(self) -> None:
        """For an answer that does not come."""
        engine = backend_for(self.url).engine()
        ready = False
        while not ready:  # it may still be starting
            with contextlib.suppress(OperationalError), engine.connect() as connection:
                ready = True
                connection.exec_driver_sql("SELECT 1")
        with engine.connect() as connection:
            connection.exec_driver_sql(ENDLESS[self.kind])


@pytest.mark.slow
@pytest.mark.skipif(bool(why_none()), reason=f"no network of its own: {why_none()}")
@pytest.mark.parametrize("kind", ENDLESS)
def test_who_waits_for_a_database_whose_machine_is_gone_is_told(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "mysql" and mariadb.binaries() is None:
        pytest.skip("no MariaDB on this machine")
    for name, seconds in {"IDLE": 1, "EVERY": 1, "TIMES": 1, "UNCONFIRMED": 2}.items():
        monkeypatch.setattr(keepalive, name, seconds)

    async def gone() -> None:
        network = Network(["database"], random.Random(1))
        await network.open()
        with TemporaryDirectory(prefix="gone-") as folder:
            await _gone(await asyncio.to_thread(Remote, kind, network, Path(folder)), network)
        await network.close()

    in_own_network(gone)


async def _gone(remote: Remote, network: Network) -> None:
    with remote.running():
        waiting = asyncio.create_task(asyncio.to_thread(remote.wait))
        async with asyncio.timeout(2 * PATIENCE):
            while not await asyncio.to_thread(remote.look):
                await asyncio.sleep(0.05)
        links = between([OUTSIDE], "database")
        await network.turn(links, CUT)
        try:
            with pytest.raises(OperationalError):
                await asyncio.wait_for(waiting, PATIENCE)
        finally:  # so that the end of the server is heard of, by a thread that would wait for ever
            await network.turn_back(links, CUT)
