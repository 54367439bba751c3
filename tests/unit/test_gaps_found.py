"""Whatever endpoints go through, each moment in which none surely took calls is found, and little else."""

from hypothesis import example, given
from hypothesis import strategies as st

from ingest.stream.coverage import COVERED, Statement
from tests.support.lives import SECOND, World, length
from workers.gaps.coverage import Covered, merged
from workers.gaps.finding import LEAST, MOST
from workers.gaps.gap import State
from workers.gaps.intervals import without

#: Seconds that a kill leaves unsure, with and without the note on disk being found: see docs/architecture.md.
UNSURE = 2.0

seconds = st.integers(1, 25)
acts = st.one_of(
    st.tuples(st.just("pass"), seconds),
    st.tuples(st.sampled_from(["start", "sleep", "wake"]), st.integers(0, 1)),
    st.tuples(st.sampled_from(["stop", "kill", "hang", "answer"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(["redis goes", "redis comes"]), st.just(0)),
)
jumps = st.tuples(st.just("jump"), st.sampled_from([-7200, -90, -3, 2, 45, 3600, 86_400]))


def live(world: World, lives: list[tuple[str, int]]) -> int:
    """Returns how many processes were killed, or fell asleep."""
    kills = 0
    for act, number in lives:
        life = world.lives[number % len(world.lives)] if world.lives else None
        awake = life is not None and life.machine not in world.asleep
        if act == "pass":
            world.pass_time(number)
        elif act == "start":
            world.start(number % len(world.left))
        elif act == "sleep":
            world.sleep(number % len(world.left))
            kills += 1
        elif act == "wake":
            world.wake(number % len(world.left))
        elif act == "redis goes":
            world.redis_serves = False
        elif act == "redis comes":
            world.redis_serves = True
        elif act == "jump" and awake and world.redis_serves:
            world.jump(number)
        elif act == "kill" and life is not None:
            world.kill(life)
            kills += 1
        elif act in ("stop", "hang", "answer") and life is not None and awake:
            getattr(world, act)(life)
    return kills


def settle(world: World) -> None:
    """Everything comes back, and a worker looks."""
    world.redis_serves = True
    for machine in range(len(world.left)):
        world.wake(machine)
    world.pass_time(20)
    while len(world.lives) > 2:
        world.stop(world.lives[0])
    for machine in range(len(world.left)):
        world.start(machine)
    world.pass_time(40)


@given(st.lists(acts, max_size=20))
def test_every_moment_without_an_endpoint_is_found_and_little_else(lives: list[tuple[str, int]]) -> None:
    world = World()
    world.start(0)
    kills = live(world, lives)
    hung = any(act == "hang" for act, _ in lives)
    settle(world)
    missed = without(world.untaken(), world.found())
    assert all(until - since <= LEAST for since, until in missed)
    if not hung:  # what is not answered makes unsure what came after it
        false = without(world.found(), world.untaken())
        assert length(false) <= UNSURE * kills
    assert all(gap.state is State.ENDED for gap in world.gaps)


@given(st.lists(st.one_of(acts, jumps), max_size=20))
@example([("sleep", 0), ("pass", 10), ("wake", 0), ("start", 0), ("jump", 45)])
@example([("start", 0), ("jump", 3600), ("redis goes", 0), ("stop", 0), ("stop", 0)])
@example([("pass", 25), ("jump", -7200), ("pass", 17), ("kill", 0)])
def test_a_clock_that_jumps_hides_no_gap_and_makes_none_of_a_minute(lives: list[tuple[str, int]]) -> None:
    world = World(machines=1)
    world.start(0)
    live(world, [one for one in lives if one[0] != "hang"])
    settle(world)
    for since, until in world.untaken():
        if until - since <= LEAST:
            continue
        by_clock = [(since + wrong, until + wrong) for wrong in world.wrongs]
        assert any(length(without([one], world.found())) <= 2 for one in by_clock), (since, until)
    assert length(world.found()) <= length(world.untaken()) + 60


def test_an_endpoint_that_took_over_from_another_machine_keeps_its_beginning_when_the_clock_is_set() -> None:
    world = World()
    world.start(0)
    world.pass_time(20)
    world.start(1)
    world.pass_time(20)
    world.stop(world.lives[0])
    world.pass_time(20)
    world.jump(3600)
    world.pass_time(60)
    assert world.found() == []


def test_an_old_note_takes_nothing_back_that_was_said_later() -> None:
    row = Covered("web:1", 10, 90, None, "boot", 10, 90)
    old = Statement("web:1", COVERED, 10, 50, 10, 50, "boot", at=50, up_at=50, is_found=True)
    assert merged([row], [old], 100) == [row]


def test_a_call_without_an_answer_makes_what_follows_unsure() -> None:
    world = World()
    world.start(0)
    world.pass_time(60)
    world.hang(world.lives[0])
    hung_at = world.now
    world.pass_time(9)
    world.kill(world.lives[0])
    world.start(1)
    world.pass_time(60)
    ((since, until),) = world.found()
    assert hung_at - 2 * SECOND <= since <= hung_at
    assert until == hung_at + 9 * SECOND


def test_before_the_first_endpoint_ever_there_is_no_gap() -> None:
    world = World()
    world.pass_time(60)
    assert world.found() == []
    world.start(0)
    world.pass_time(60)
    assert world.found() == []


def test_a_gap_lasts_until_an_endpoint_comes_back() -> None:
    world = World()
    world.start(0)
    world.pass_time(60)
    world.stop(world.lives[0])
    stopped_at = world.now
    world.pass_time(30)
    (gap,) = world.gaps
    assert (gap.state, gap.since, gap.until) == (State.OPEN, stopped_at, None)
    assert gap.details == {"ended": "stopped"}
    world.start(1)
    world.pass_time(30)
    (gap,) = world.gaps
    assert (gap.state, gap.since, gap.until) == (State.ENDED, stopped_at, stopped_at + 30 * SECOND)


def test_an_endpoint_that_dies_every_few_seconds_for_hours_makes_few_gaps_and_few_rows() -> None:
    world = World(machines=1)
    for _ in range(400):
        world.start(0)
        world.pass_time(2)
        world.kill(world.lives[0])
        world.now += 28 * SECOND
    world.start(0)
    world.pass_time(60)
    assert length(without(world.untaken(), world.found())) == 0
    assert len(world.gaps) <= 5 * MOST
    assert len(world.rows) <= 140
