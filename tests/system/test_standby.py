"""PostgreSQL fails over to its standby: `DATABASE_URL` names both, and who takes writes is found."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.postgres import HASTY, USER, Server, postgres
from tests.support.running import answers, ingest, running, until
from tests.support.site import Site
from tests.support.valkey import valkey
from workers.store.schema import upgrade
from workers.store.store import Store

CALLS = 300


@contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """A standby that has all that the primary has, for as long as the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        standby = Server(folder, HASTY)
        primary.stop()
        shutil.rmtree(folder / "data")
        shutil.copytree(primary.folder / "data", folder / "data")
        (folder / "data" / "standby.signal").touch()
        with (folder / "data" / "postgresql.auto.conf").open("a") as file:
            file.write(f"primary_conninfo = 'host={primary.folder} user={USER}'\n")
        (folder / "data").chmod(0o700)
        if standby.popen:
            for path in [folder / "data", *(folder / "data").rglob("*")]:
                shutil.chown(path, "nobody", "nogroup")
        primary.start()
        standby.start()
        try:
            yield standby
        finally:
            standby.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    with postgres() as primary:
        upgrade(primary.new_database("events"))
        with standby_of(primary) as standby:
            yield primary, standby


def has_everything(primary: Server, standby: Server) -> bool:
    with psycopg.connect(primary.dsn("events")) as one, psycopg.connect(standby.dsn("events")) as other:
        ((written,),) = one.execute("SELECT pg_current_wal_lsn()").fetchall()
        ((replayed,),) = other.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [str(written)]).fetchall()
        return bool(replayed)


def test_workers_go_where_writes_are_taken(pair: tuple[Server, Server], tmp_path: Path) -> None:
    primary, standby = pair
    # The standby comes first: whoever does not ask for a writable one would stay with it.
    url = f"postgresql://{USER}@/events?host={standby.folder},{primary.folder}&target_session_attrs=read-write"
    with valkey() as server, ExitStack() as stack:
        site = Site(server, tmp_path)
        site.environ["DATABASE_URL"] = url
        web = stack.enter_context(running(ingest("serve"), site.environ, tmp_path / "web.log"))
        worker = stack.enter_context(running(ingest("worker"), site.environ, tmp_path / "worker.log"))
        until(lambda: answers(site.port), "the endpoint")
        assert site.send(CALLS).complete
        with Store.open(url) as store:
            until(lambda: store.stored() == CALLS, "the events")
            until(lambda: has_everything(primary, standby), "a standby that has everything")
            primary.stop()
            assert site.send(CALLS).complete
            with psycopg.connect(standby.dsn("events")) as other:
                other.execute("SELECT pg_promote()")
        with Store.open(url) as store:
            until(lambda: store.stored() == 2 * CALLS, "the events of both times")
        assert (web.alive, worker.alive) == (True, True)
        assert "Traceback" not in web.output + worker.output
