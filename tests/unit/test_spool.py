"""The spool on a real disk: what was confirmed is read again whatever became of the bytes around it."""

import errno
import os
import resource
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.batch import Batch
from ingest.errors import SpoolFailed, Unavailable
from ingest.spool import Spool, segment, spool
from ingest.spool.segment import HEAD, Reserve, SegmentName, SegmentWriter, scan
from tests.support.running import PATIENCE
from tests.support.spool import MUCH, numbered, opened, replayed

SYNC = bytes.fromhex("00112233445566ff")

BATCHES = st.lists(
    st.builds(
        Batch,
        # Bodies that try to look like the file that holds them.
        st.lists(st.sampled_from([b"x", b"", SYNC[:7], segment.TITLE, b"\0" * 24, os.urandom(50)])).map(b"".join),
        st.integers(1, 512),
    ),
    min_size=1,
    max_size=6,
)


def written(batches: list[Batch]) -> tuple[bytes, list[int]]:
    """A segment, and where its records begin and the last one ends."""
    data, edges = segment.head(SYNC), [HEAD]
    for batch in batches:
        data += segment.record(SYNC, batch)
        edges.append(len(data))
    return data, edges


def read(data: bytes) -> list[Batch]:
    return [found.batch for found in scan(data, SYNC) if found.batch is not None]


@given(BATCHES)
def test_what_was_written_is_read(batches: list[Batch]) -> None:
    assert read(written(batches)[0]) == batches


@given(BATCHES, st.data())
def test_every_undamaged_record_is_read_and_nothing_is_invented(batches: list[Batch], draw: st.DataObject) -> None:
    data, edges = written(batches)
    damaged = bytearray(data)
    at = draw.draw(st.integers(0, len(data) - 1))
    bad = draw.draw(st.binary(min_size=1, max_size=60))[: len(data) - at]
    damaged[at : at + len(bad)] = bad
    whole = [
        batch
        for batch, begin, end in zip(batches, edges, edges[1:], strict=False)
        if damaged[begin:end] == data[begin:end]
    ]
    found = list(scan(bytes(damaged), SYNC))
    assert [one.batch for one in found if one.batch] == whole
    assert [one.start for one in found] == [HEAD, *(one.end for one in found)][: len(found)]  # without gaps
    assert found[-1].end == len(data)


@given(BATCHES, st.data())
def test_a_file_that_was_cut_off_gives_all_records_before_the_cut(
    batches: list[Batch], draw: st.DataObject
) -> None:
    data, edges = written(batches)
    cut = draw.draw(st.integers(HEAD, len(data)))
    whole = sum(edge <= cut for edge in edges) - 1
    assert read(data[:cut]) == batches[:whole]
    assert all(found.batch or found.is_torn for found in scan(data[:cut], SYNC))


@given(BATCHES, BATCHES, st.data())
def test_bytes_that_were_lost_or_put_in_between_cost_only_the_record_they_are_in(
    before: list[Batch], after: list[Batch], draw: st.DataObject
) -> None:
    first, second = written(before)[0], written(after)[0][HEAD:]
    lost = draw.draw(st.integers(1, len(segment.record(SYNC, before[-1]))))
    more = draw.draw(st.binary(max_size=40))
    found = read(first[:-lost] + more + second)
    # The record before, unless by chance the bytes that follow are those that it lost, and are missing there.
    assert found in (before[:-1] + after, before + after, before + after[1:])


def test_a_record_inside_a_damaged_one_is_not_taken_for_one() -> None:
    forged = segment.record(os.urandom(8), Batch(b"forged", 1))
    data, _ = written([Batch(b"a" * 9 + forged, 1), Batch(b"b", 2)])
    assert read(data.replace(b"aaaa", b"aaab", 1)) == [Batch(b"b", 2)]


def test_how_far_a_segment_was_replayed_is_believed_only_if_it_is_whole() -> None:
    data, edges = written([Batch(b"a", 1), Batch(b"b", 2)])
    noted = segment.head(SYNC, edges[1]) + data[HEAD:]
    assert segment.confirmed(noted, SYNC) == edges[1]
    for at in range(len(segment.TITLE), HEAD):
        flipped = noted[:at] + bytes([noted[at] ^ 1]) + noted[at + 1 :]
        assert segment.confirmed(flipped, SYNC) == HEAD


def files(folder: Path, suffix: str = segment.SUFFIX) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == suffix)


async def test_what_is_kept_is_replayed_in_order_and_then_gone(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as one:
        await one.keep(numbered(1, 2))
        await one.keep(numbered(3))
        assert (one.events, one.size) == (6, sum(path.stat().st_size for path in files(tmp_path / "spool")))
        assert 0 <= (one.oldest_age or -1) < PATIENCE
        assert await replayed(one) == [b"1", b"2", b"3"]
        assert (one.events, one.size, one.oldest_age, files(tmp_path / "spool")) == (0, 0, None, [])
    assert list((tmp_path / "spool").iterdir()) == []


async def test_personal_data_is_for_this_user_only(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as one:
        await one.keep(numbered(1))
        assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in (tmp_path / "spool").iterdir()} == {0o600}


async def test_a_portion_has_limits(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await one.keep([Batch(b"x" * 10, 1)] * 5)
        for size, count, expected in ((25, 9, 2), (MUCH, 1, 1), (1, 9, 1), (MUCH, 9, 1)):
            portion = await one.next(size, count)
            assert portion is not None
            assert len(portion.batches) == expected
            await one.confirm(portion)


async def test_what_was_not_confirmed_comes_again_and_what_was_does_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await one.keep(numbered(1, 2, 3))
        first = await one.next(1, 1)
        assert first is not None
        await one.confirm(first)
        second = await one.next(1, 1)
        assert second is not None
        assert await one.next(1, 1) == second
    async with opened(tmp_path) as successor:
        await successor.tidy()
        assert successor.events == 5
        assert await replayed(successor) == [b"2", b"3"]


def looks_untidy(one: Spool) -> bool:
    one.peek()
    return one.is_untidy


async def test_a_folder_is_untidy_once_another_process_has_something_there(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        assert one.is_untidy  # as far as is known
        await one.keep(numbered(1))
        assert not looks_untidy(one)
        async with opened(tmp_path) as other:
            await other.keep(numbered(2))
            assert looks_untidy(one)
        assert looks_untidy(one)  # what the other left
        assert sorted(await replayed(one)) == [b"1", b"2"]
        assert not looks_untidy(one)
        shutil.rmtree(tmp_path)
        assert looks_untidy(one)


async def test_full_segments_are_followed_by_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEGMENT_SIZE", 100)
    async with opened(tmp_path) as one:
        for number in range(10):
            await one.keep([Batch(b"%d" % number * 30, 1)])
        assert len(files(tmp_path)) == 5
        portion = await one.next(1, 1)
        assert portion is not None
        assert portion.batches[0].packed == b"0" * 30
        assert len(await replayed(one)) == 10


async def test_what_waits_is_counted_while_its_segment_is_closed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    close = SegmentWriter.close

    def look_and_close(writer: SegmentWriter) -> None:
        counted.append((one.events, one.size > 0))
        close(writer)

    async with opened(tmp_path) as one:
        await one.keep(numbered(1, 2))
        monkeypatch.setattr(SegmentWriter, "close", look_and_close)
        assert await one.next(MUCH, 1)
    assert counted == [(3, True)]


async def test_a_spool_that_is_full_refuses_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    async with opened(tmp_path, 1000) as one, opened(tmp_path, 1000) as sibling:
        await one.keep([Batch(b"x" * 700, 1)])
        assert not one.is_full
        with pytest.raises(SpoolFailed, match="INGEST_SPOOL_MAX"):
            await one.keep([Batch(b"x" * 300, 1)])
        await sibling.tidy()
        with pytest.raises(SpoolFailed, match="INGEST_SPOOL_MAX"):
            await sibling.keep([Batch(b"x" * 300, 1)])
        await one.keep([Batch(b"y", 1)])
        assert len(await replayed(one)) == 2
        await one.keep([Batch(b"x" * 700, 1)])


async def test_damage_is_kept_aside_and_a_torn_end_is_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as one:
        await one.keep([Batch(b"first", 1), Batch(b"second", 1), Batch(b"third", 1)])
    (path,) = files(tmp_path)
    name = SegmentName.parse(path.name)
    assert name is not None
    torn = segment.record(name.sync, Batch(b"never acknowledged", 1))[:-3]
    path.write_bytes(path.read_bytes().replace(b"second", b"sxcond") + torn)
    async with opened(tmp_path) as successor:
        assert await replayed(successor) == [b"first", b"third"]
        assert successor.bad == 1
    (bad,) = files(tmp_path, ".bad")
    assert bad.read_bytes().endswith(b"sxcond")
    assert bad.stat().st_mode & 0o777 == 0o600
    assert "damaged" in caplog.text
    assert "never acknowledged" in caplog.text
    assert files(tmp_path) == []


@contextmanager
def small_files() -> Iterator[None]:
    """As on a full disk: no file of this process grows beyond some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


async def test_a_disk_that_fails_costs_what_was_not_confirmed_and_nothing_else(tmp_path: Path) -> None:
    with small_files():
        async with opened(tmp_path) as one:
            await one.keep([Batch(b"a" * 100, 1)])
            with pytest.raises(SpoolFailed, match=os.strerror(errno.EFBIG)):
                await one.keep([Batch(b"b" * 200, 1)])
            assert one.trouble
            await one.tidy()  # small files are taken still
            assert one.takes
            await one.keep([Batch(b"c" * 100, 1)])  # in a new segment
            assert one.takes
            assert len(files(tmp_path)) == 2
            with pytest.raises(SpoolFailed):
                await one.keep([Batch(b"d" * 300, 1)])
            with pytest.raises(SpoolFailed):
                await one.keep([Batch(b"d" * 300, 1)])
            assert await replayed(one) == [b"a" * 100, b"c" * 100]
            assert files(tmp_path, ".bad") == []


async def test_a_disk_that_hangs_holds_up_no_one_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "KEEP_TIMEOUT", 0.1)
    async with opened(tmp_path) as one:
        with monkeypatch.context() as slow:
            on_disk = threading.Event()
            slow.setattr(segment.SegmentWriter, "sync", lambda _: on_disk.wait(30))
            for _ in range(2):
                with pytest.raises(SpoolFailed, match="disk"):
                    await one.keep(numbered(1))
            assert not one.takes
            on_disk.set()
            await one.tidy()
        await one.keep(numbered(2))
        assert one.takes


async def test_a_segment_that_vanished_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await one.keep(numbered(1))
    async with opened(tmp_path) as two:
        await two.tidy()
        await two.keep(numbered(2))
        files(tmp_path)[0].unlink()
        assert await replayed(two) == [b"2"]
        assert two.events == 0


@pytest.mark.parametrize("folder", ["file/spool", "/proc/spool"])
def test_a_folder_that_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="INGEST_SPOOL_DIR=off") as refused:
        Spool(tmp_path / folder, MUCH)
    assert "\n" not in str(refused.value)


def test_names_say_what_a_segment_is() -> None:
    name = SegmentName.new("12-ab")
    assert SegmentName.parse(str(name)) == name
    names = [str(SegmentName.new("x")) for _ in range(5)]
    assert names == sorted(names)
    for other in ("x.spool", "1-2-3.spool", str(name).replace(".spool", ".spool2"), str(name) + ".bad"):
        assert SegmentName.parse(other) is None
    assert len(Counter(names)) == 5


def test_a_segment_is_begun_although_every_other_file_is_taken(tmp_path: Path) -> None:
    reserve, taken = Reserve(), []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files"):
            SegmentWriter(tmp_path, "1-other")
        reserve.begin(tmp_path, "1-mine").close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for file in taken:
            os.close(file)
        reserve.release()
    assert len(list(tmp_path.iterdir())) == 1
