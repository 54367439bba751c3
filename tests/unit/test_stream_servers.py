"""Several stream servers: how they are named, and which of them takes the next batch."""

from typing import cast

import pytest

from ingest.batch import MAX_SIZE, Batch
from ingest.errors import SettingsError, WriteUnconfirmed
from ingest.redis_url import place
from ingest.settings import Settings
from ingest.stream.appends import Stream
from ingest.stream.copies import AT_ONCE, SHARE, Copies
from ingest.stream.lanes import LATE, STAY, Lane, Lanes
from ingest.stream.writes import Write


class Named:
    """A stream server that is only chosen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_open = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("ingest.stream.lanes.time.monotonic", lambda: now[0])
    return now


def several(number: int = 3) -> Lanes:
    return Lanes([cast(Stream, Named(str(n))) for n in range(number)])


def written(lanes: Lanes, clock: list[float], seconds: float) -> Lane:
    """A batch that took so long, and where it went."""
    lane = lanes.choose()
    assert lane is not None
    write = Write([], [], 0)
    write.began = clock[0]
    lane.begin(write)
    clock[0] += seconds
    lane.end(write, confirmed=True, measure=True)
    return lane


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://:secret@Stream-1", "stream-1:6379"),
        ("rediss://user:secret@stream-1:6379/0?ssl_cert_reqs=none", "stream-1:6379"),
        ("redis://h:7/2", "h:7/2"),
        ("redis://h:7?db=3", "h:7/3"),
        ("redis://[::1]", "[::1]:6379"),
        ("unix://user:secret@/run/valkey.sock?db=1", "/run/valkey.sock/1"),
        ("redis+sentinel://:secret@a,b:1/primary/2", "primary@a:26379,b:1/2"),
    ],
)
def test_a_server_is_known_by_where_it_is_and_not_by_how_it_is_spoken_to(url: str, name: str) -> None:
    assert place(url) == name


def test_the_servers_are_those_that_are_named_and_that_of_the_queues() -> None:
    urls = "redis+sentinel://a,b/primary/0, rediss://:x,y@c ,redis://q"
    settings = Settings.read({"REDIS_URL": "redis://q:6379/0", "INGEST_STREAM_URLS": urls})
    assert [(one.name, one.has_queues, one.takes) for one in settings.stream_servers] == [
        ("primary@a:26379,b:26379", False, True),
        ("c:6379", False, True),
        ("q:6379", True, True),
    ]
    apart = Settings.read({"REDIS_URL": "redis://q", "INGEST_STREAM_URLS": "redis://c"})
    assert [(one.name, one.has_queues, one.takes) for one in apart.stream_servers] == [
        ("q:6379", True, False),
        ("c:6379", False, True),
    ]
    assert [one.name for one in Settings.read({"REDIS_URL": "redis://q"}).stream_servers] == ["q:6379"]


def test_without_a_redis_url_the_queues_are_on_the_first_and_tls_counts_for_all() -> None:
    settings = Settings.read({"INGEST_STREAM_URLS": "rediss://c,rediss://d", "INGEST_REDIS_TLS": "no-verify"})
    assert settings.redis == settings.stream_servers[0].url == "rediss://c?ssl_cert_reqs=none"
    assert settings.stream_servers[1].url == "rediss://d?ssl_cert_reqs=none"


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ("redis://:secret@c,redis://:other@C:6379/0", "it names c:6379 twice"),
        ("redis://c,http://:secret@d", "of number 2, write redis://host:6379/0"),
        ("redis://:secret@c,d:6379", "write each server as a whole URL"),
        (",".join(f"redis://h{n}" for n in range(17)), "16 are the most"),
    ],
)
def test_a_mistake_in_the_list_is_one_sentence_without_a_secret(urls: str, said: str) -> None:
    with pytest.raises(SettingsError, match="INGEST_STREAM_URLS cannot be used: ") as refused:
        Settings.read({"INGEST_STREAM_URLS": urls})
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_servers_that_are_alike_have_their_turns(clock: list[float]) -> None:
    lanes = several()
    assert [written(lanes, clock, 0.0004 * (n % 2)).stream.name for n in range(6)] == ["0", "1", "2"] * 2


def test_one_that_is_at_work_has_the_next_batch_too_while_it_is_quick(clock: list[float]) -> None:
    lanes = several()
    for _ in range(6):
        written(lanes, clock, 0.0004)
    first = lanes.choose()
    assert first is not None
    first.begin(Write([], [], 0))
    first.oldest = clock[0]
    assert lanes.choose() is first
    first.begin(Write([], [], 0))
    first.begin(Write([], [], 0))
    assert lanes.choose() is not first, "the fourth is safe there within four milliseconds"
    for _ in range(2):
        first.end(Write([], [], 0), confirmed=True, measure=True)
    clock[0] += STAY
    first.oldest = clock[0]
    assert lanes.choose() is not first, "others have their turn"


def test_a_slow_server_is_left_alone_for_a_while_and_then_tried_again(clock: list[float]) -> None:
    lanes = several(2)
    went = []
    for _ in range(2000):
        took = 0.1 if (lane := lanes.choose()) is lanes[1] else 0.003
        assert lane is not None
        write = Write([], [], 0)
        write.began = clock[0]
        lane.begin(write)
        clock[0] += took
        lane.end(write, confirmed=True, measure=True)
        went.append(lane is lanes[1])
    assert 2 <= sum(went) < 100


def test_one_with_more_on_its_way_waits_longer(clock: list[float]) -> None:
    lanes = several(2)
    for _ in range(3):
        lanes[0].begin(Write([], [], 0))
    assert lanes.choose() is lanes[1]
    assert lanes.choose() is lanes[1]


def test_what_is_late_on_one_holds_up_nothing_on_another(clock: list[float]) -> None:
    lanes = several(2)
    write = Write([], [], 7)
    write.began = clock[0]
    lanes[0].begin(write)
    assert lanes.on_their_way() == (1, 0, 7)
    clock[0] += 2 * LATE
    assert lanes.on_their_way() == (0, 0, 0)
    assert lanes.choose() is lanes[1]


def test_what_is_late_on_the_last_that_takes_batches_holds_up_what_comes_after_it(clock: list[float]) -> None:
    """As with one server: else each call would be a write of its own, and wait for its own fsync."""
    lanes = several(3)
    lanes[0].breaker.trip(WriteUnconfirmed("killed"))
    for number in (1, 2):
        write = Write([], [], number)
        write.began = clock[0]
        lanes[number].begin(write)
    lanes[1].is_behind = True
    clock[0] += 2 * LATE
    assert lanes.on_their_way() == (1, 0, 2)
    lanes[2].is_behind = True
    assert lanes.on_their_way() == (2, 0, 3)


def begun(copies: Copies, lane: Lane, clock: list[float]) -> Write:
    """A batch that is on its way to a server."""
    write = Write([], [], 0)
    write.batches = [Batch(b"", 1)]
    write.began, write.lane, write.fate.under_way = clock[0], lane, 1
    write.fate.lanes.add(lane)
    lane.begin(write)
    copies.begun(write)
    return write


def measured(lanes: Lanes, clock: list[float], seconds: float) -> None:
    """Each has taken so long lately."""
    for _ in range(60):
        written(lanes, clock, seconds)


def test_what_one_lets_wait_goes_to_a_quicker_one_and_the_late_one_gets_nothing_more(clock: list[float]) -> None:
    lanes = several()
    copies = Copies(lanes)
    measured(lanes, clock, 0.003)
    write = begun(copies, lanes[0], clock)
    clock[0] += 0.9 * LATE
    assert copies.due() == []
    clock[0] += 0.2 * LATE
    [(copy, lane)] = copies.due()
    assert lane in (lanes[1], lanes[2])
    assert (copy.batches, copy.owners, copy.fate) == (write.batches, write.owners, write.fate)
    assert lanes[0] not in {lanes.choose() for _ in range(9)}
    lanes[0].end(write, confirmed=True, measure=True)
    clock[0] += 10.0
    assert lanes[0] in {lanes.choose() for _ in range(9)}


def test_nothing_is_sent_to_one_that_lets_a_batch_wait_itself(clock: list[float]) -> None:
    lanes = several(2)
    copies = Copies(lanes)
    measured(lanes, clock, 0.003)
    writes = [begun(copies, lane, clock) for lane in lanes]
    clock[0] += 2 * LATE
    assert copies.due() == []
    lanes[0].end(writes[0], confirmed=True, measure=True)
    copies.ended(writes[0])
    clock[0] += LATE
    assert [lane for _, lane in copies.due()] == [lanes[0]]


def test_nothing_is_sent_twice_where_all_are_slow(clock: list[float]) -> None:
    lanes = several()
    copies = Copies(lanes)
    measured(lanes, clock, 0.1)
    for lane in lanes:
        begun(copies, lane, clock)
    for _ in range(20):
        clock[0] += LATE / 2
        assert copies.due() == []


def test_a_few_batches_at_once_and_a_small_share_of_all_are_sent_twice(clock: list[float]) -> None:
    lanes = several()
    copies = Copies(lanes)
    measured(lanes, clock, 0.001)
    batches = 2000
    for _ in range(batches):
        write = begun(copies, lanes[0], clock)
        clock[0] += 2 * LATE
        copies.due()
        lanes[0].end(write, confirmed=True, measure=False)
        copies.ended(write)
        for lane in list(lanes)[1:]:
            lane.last = 0
    assert AT_ONCE < copies.number <= AT_ONCE + SHARE * batches


def test_what_is_large_or_on_its_way_twice_is_not_sent_again(clock: list[float]) -> None:
    lanes = several()
    copies = Copies(lanes)
    measured(lanes, clock, 0.001)
    begun(copies, lanes[0], clock).size = MAX_SIZE + 1
    begun(copies, lanes[1], clock).fate.under_way = 2
    clock[0] += 2 * LATE
    assert copies.due() == []


def test_where_all_are_behind_one_of_them_is_chosen(clock: list[float]) -> None:
    lanes = several()
    for lane in lanes:
        lane.is_behind = True
    assert lanes.choose() is not None


def test_one_that_fails_or_is_full_gets_nothing(clock: list[float]) -> None:
    lanes = several()
    lanes[0].breaker.trip(WriteUnconfirmed("away"))
    lanes[1].is_over = True
    assert {lanes.choose() for _ in range(5)} == {lanes[2]}
    assert lanes.others_take(lanes[0])
    assert not lanes.others_take(lanes[2])
    assert lanes.states == {"0": "open", "1": "full", "2": "closed"}
    lanes[2].breaker.trip(WriteUnconfirmed("away"))
    assert lanes.choose() is None
    assert not lanes.any_takes
