"""A spool whose disk is full, read-only or another's: what lies in it is replayed, and it takes calls again."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.errors import SpoolFailed, Unavailable
from ingest.spool import Spool, look
from tests.support.disk import Disk
from tests.support.spool import MUCH, numbered, opened, replayed

#: Bytes of the disk.
SMALL = 256 * 1024
NOBODY = 65534


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk", SMALL)
    if not disk.mounted:
        pytest.skip("needs a disk of its own, which only root may mount")
    yield disk
    disk.make_read_only(False)
    disk.unmount(None)


async def left_behind(folder: Path) -> None:
    """Calls of two processes that have died."""
    for number in (1, 2):
        async with opened(folder) as dead:
            await dead.keep(numbered(number))


def stuff(disk: Disk) -> None:
    """Not even an empty file finds room."""
    disk.fill()
    for number in range(10_000):
        try:
            (disk.folder / f"more-{number}").touch()
        except OSError:
            return


async def test_a_full_disk_is_replayed_and_then_takes_calls_again(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    folder = disk.folder / "spool"
    await left_behind(folder)
    stuff(disk)
    async with opened(folder) as one:
        assert "No space left" in str(one.trouble)
        with pytest.raises(SpoolFailed, match="No space left"):
            await one.keep(numbered(3))
        assert await replayed(one) == [b"1", b"2"]
        shutil.rmtree(disk.folder, ignore_errors=True)
        await one.tidy()
        assert one.takes
        await one.keep(numbered(4))
        assert await replayed(one) == [b"4"]
    assert caplog.text.count("takes no calls") == 1


async def test_a_disk_that_became_read_only_is_replayed_once_and_by_one_process(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    folder = disk.folder / "spool"
    await left_behind(folder)
    disk.make_read_only()
    async with opened(folder) as one, opened(folder) as two:
        assert await replayed(one) == [b"1", b"2"]
        assert await replayed(two) == []
        assert one.events == 0
        for waiting in one._waiting:
            waiting.not_before = 0  # as after a minute
        assert await replayed(one) == []
        assert not one.takes
        disk.make_read_only(False)
        for waiting in one._waiting:
            waiting.not_before = 0
        assert await replayed(one) == []
        assert await replayed(two) == []
        assert (one.takes, two.takes) == (True, True)
        await two.keep(numbered(3))
        assert await replayed(two) == [b"3"]
    assert look(folder).events == 0
    assert caplog.text.count("takes no calls") == 2
    assert "Traceback" not in caplog.text


async def test_what_is_not_confirmed_on_a_read_only_disk_comes_again(disk: Disk) -> None:
    folder = disk.folder / "spool"
    async with opened(folder) as dead:
        await dead.keep(numbered(1, 2, 3))
    disk.make_read_only()
    async with opened(folder) as one:
        await one.tidy()
        first = await one.next(1, 1)
        assert first is not None
        await one.confirm(first)
        await one.next(1, 1)  # which Redis does not take
        assert await replayed(one) == [b"2", b"3"]


def as_nobody(folder: Path, test: Callable[[], None]) -> int:
    """Run it in a process that owns nothing and is in that folder, whatever lies above; its exit code."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        os.chdir(folder)
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        test()
        code = 0
    finally:
        os._exit(code)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give up its rights")
@pytest.mark.parametrize("readable", [True, False])
def test_a_folder_that_may_not_be_written_is_replayed_if_it_may_be_read(tmp_path: Path, readable: bool) -> None:
    folder = tmp_path / "spool"
    asyncio.run(left_behind(folder))
    folder.chmod(0o755 if readable else 0o700)
    for path in folder.iterdir():
        path.chmod(0o644)

    async def replay() -> None:
        async with opened(Path()) as one:
            assert not one.takes
            assert await replayed(one) == [b"1", b"2"]

    def test() -> None:
        if readable:
            asyncio.run(replay())
            return
        with pytest.raises(Unavailable, match="with another INGEST_SPOOL_DIR they would stay there"):
            Spool(Path(), MUCH)

    assert as_nobody(folder, test) == 0
    assert look(folder).events == 3


async def test_calls_are_not_acknowledged_into_a_file_that_somebody_has_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    async with opened(folder) as one:
        await one.keep(numbered(1))
        shutil.rmtree(folder)
        with pytest.raises(SpoolFailed):
            await one.keep(numbered(2))
        await one.tidy()
        await one.keep(numbered(3))
        async with opened(folder) as two:
            assert await replayed(two) == []  # its owner is alive
        assert await replayed(one) == [b"3"]


async def test_a_process_whose_lock_was_deleted_is_not_taken_for_dead_for_long(tmp_path: Path) -> None:
    async with opened(tmp_path) as one, opened(tmp_path) as two:
        await one.keep(numbered(1))
        (tmp_path / f"{one._owner()}.lock").unlink()
        await one.tidy()
        assert await replayed(two) == []
        (tmp_path / f"{one._owner()}.lock").unlink()
        assert await replayed(two) == [b"1"]
        with pytest.raises(SpoolFailed):  # not into what the other has taken
            await one.keep(numbered(2))
        await one.tidy()
        await one.keep(numbered(3))
        assert await replayed(one) == [b"3"]
