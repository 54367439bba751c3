"""Backups of SQLite: taken while others write, looked through, and put in the place of what was there."""

import errno
import fcntl
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Worker
from rq.serializers import JSONSerializer

from ingest.errors import Unavailable
from tests.support.builders import event
from tests.support.cli import typed
from workers.operations import backup
from workers.operations.backup import back_up, restore
from workers.store.schema import upgrade
from workers.store.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/a%20b'c.db"
    upgrade(url)
    with Store.open(url) as store:
        store.add([event(number) for number in range(200)])
    return url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def test_a_backup_is_of_one_moment_while_others_write(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PAGES", 5)
    told: list[float] = []
    with Store.open(url) as store:

        def meanwhile(part: float) -> None:
            told.append(part)
            store.add([event(1000 + len(told))])

        assert back_up(url, file, meanwhile) == 200
        assert store.stored() == 200 + len(told) > 210
    assert told == sorted(told), "it never began anew"
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in file.parent.glob("backup*")) == ["backup"]


def test_nothing_is_overwritten(url: str, file: Path) -> None:
    file.write_text("precious")
    with pytest.raises(Unavailable, match="already"):
        back_up(url, file)
    assert file.read_text() == "precious"


def test_a_backup_takes_the_place_of_the_database_and_its_log(url: str, file: Path) -> None:
    back_up(url, file)
    with Store.open(url) as store:
        store.add([event(1000)])
        with pytest.raises(Unavailable, match="stop all"):
            restore(url, file)
    aside = restore(url, file)
    assert aside is not None
    with Store.open(url) as store, Store.open(f"sqlite:///{aside}") as before:
        assert (store.stored(), before.stored()) == (200, 201)


def test_the_log_of_a_database_that_died_is_not_written_into_the_backup(url: str, file: Path) -> None:
    back_up(url, file)
    place = next(path for path in file.parent.iterdir() if path.suffix == ".db")
    with closing(sqlite3.connect(place)) as writer:
        writer.execute("DELETE FROM events")
        writer.commit()
        left = Path(f"{place}-wal").read_bytes()
    place.unlink()
    Path(f"{place}-wal").write_bytes(left)
    assert restore(url, file) is None
    with Store.open(url) as store:
        assert store.stored() == 200


def breaks_off(function: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """The same function, which fails when it is called first."""
    calls = count()

    def called(*arguments: Any) -> Any:
        if not next(calls):
            raise error
        return function(*arguments)

    return called


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("ends_with", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_restore_that_breaks_off_leaves_the_database_where_it_was(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch, ends_with: BaseException, has_links: bool
) -> None:
    back_up(url, file)
    with Store.open(url) as store:
        store.add([event(1000)])
    monkeypatch.setattr(Path, "replace", breaks_off(Path.replace, ends_with))
    if not has_links:
        monkeypatch.setattr(os, "link", breaks_off(os.link, OSError(errno.EPERM, "Operation not permitted")))
    with pytest.raises((KeyboardInterrupt, Unavailable)):
        restore(url, file)
    with Store.open(url) as store:
        assert store.stored() == 201
    assert [*file.parent.glob("*.before-*")] == []


def test_what_somebody_has_made_meanwhile_is_not_overwritten(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(url, file)
    place = next(path for path in file.parent.iterdir() if path.suffix == ".db")
    place.unlink()
    unlink = Path.unlink

    def unlinked(path: Path, **options: Any) -> None:
        if path.name == f"{place.name}-journal":
            place.write_text("precious")
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", unlinked)
    with pytest.raises(Unavailable, match="already"):
        restore(url, file)
    assert place.read_text() == "precious"


def test_a_restore_that_is_killed_leaves_the_one_database_in_its_place_or_the_other(
    url: str, file: Path, tmp_path: Path
) -> None:
    back_up(url, file)
    with Store.open(url) as store:
        store.add([event(1000)])
    place = next(path for path in file.parent.iterdir() if path.suffix == ".db")
    ended, seen = -signal.SIGKILL, list[int]()
    while ended:
        (folder := tmp_path / str(len(seen))).mkdir()
        copy = shutil.copy(place, folder / "events.db")
        if not (pid := os.fork()):
            calls = count()

            def killed(name: str, _arguments: object, calls: Iterator[int] = calls) -> None:
                if name in {"os.rename", "os.link", "os.remove"} and next(calls) == len(seen):
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(killed)
            restore(f"sqlite:///{copy}", file)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with Store.open(f"sqlite:///{copy}") as store:
            seen.append(store.stored())
    assert len(seen) > 4
    assert set(seen) == {200, 201}
    assert seen == sorted(seen, reverse=True)


def test_what_a_killed_backup_has_left_is_deleted_by_the_next_when_nobody_has_it(url: str, file: Path) -> None:
    pid = os.fork()
    if not pid:
        back_up(url, file, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    os.waitpid(pid, 0)
    left = sorted(file.parent.glob("*.part-*"))
    assert len(left) == 2
    back_up(url, file.with_name("while it is young"))
    for one in left:
        os.utime(one, (0, 0))
    with left[1].open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        back_up(url, file.with_name("while somebody has it"))
    assert sorted(file.parent.glob("*.part-*")) == left
    back_up(url, file)
    assert not list(file.parent.glob("*.part-*"))


def test_a_database_that_a_link_leads_to_is_replaced_where_it_is(url: str, file: Path) -> None:
    back_up(url, file)
    link = next(path for path in file.parent.iterdir() if path.suffix == ".db")
    (disk := file.parent / "disk").mkdir()
    place = link.rename(disk / link.name)
    link.symlink_to(place)
    aside = restore(url, file)
    assert aside is not None
    assert aside.parent == disk
    assert link.is_symlink()
    assert not place.is_symlink()
    assert place.stat().st_size == file.stat().st_size


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("is_there", [True, False])
def test_what_root_restores_belongs_to_whom_the_database_belonged(url: str, file: Path, is_there: bool) -> None:
    back_up(url, file)
    place = next(path for path in file.parent.iterdir() if path.suffix == ".db")
    if is_there:
        os.chown(place, 4321, 4322)
    else:
        place.unlink()
        os.chown(file.parent, 4321, 4322)
    restore(url, file)
    assert (place.stat().st_uid, place.stat().st_gid, place.stat().st_mode & 0o777) == (4321, 4322, 0o600)


@pytest.mark.parametrize("damage", [b"no database", b""])
def test_what_is_no_backup_is_not_put_in_its_place(url: str, file: Path, damage: bytes) -> None:
    file.write_bytes(damage)
    with pytest.raises(Unavailable, match="no backup of a database of ours"):
        restore(url, file)
    with Store.open(url) as store:
        assert store.stored() == 200


def test_a_damaged_backup_is_refused(url: str, file: Path) -> None:
    back_up(url, file)
    with file.open("r+b") as damaged:
        damaged.seek(4096 * 4)
        damaged.write(b"\xff" * 4096 * 4)
    with pytest.raises(Unavailable, match=r"damaged|no backup"):
        restore(url, file)


def test_postgresql_is_told_what_to_type_instead(file: Path) -> None:
    with pytest.raises(Unavailable, match="pg_dump"):
        back_up("postgresql://nobody@127.0.0.1:1/x", file)


def test_nothing_is_put_in_the_place_of_a_database_that_workers_use(
    url: str, file: Path, client: redis.Redis, redis_url: str
) -> None:
    back_up(url, file)
    one = Worker(["events"], connection=client, serializer=JSONSerializer)
    one.register_birth()  # type: ignore[no-untyped-call]
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": url}
    done = typed("db", "restore", str(file), "--yes", environ=environ)
    assert (done.exit_code, done.stderr[:22]) == (1, "ingest: 1 worker runs:")
    one.register_death()  # type: ignore[no-untyped-call]
    assert typed("db", "restore", str(file), "--yes", environ=environ).exit_code == 0
