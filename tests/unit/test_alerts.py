"""When alerts are told: once, once more when it is over, and by comparison with what is usual."""

import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, cast

import fakeredis
import orjson
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from ingest import lookout as lookouts
from ingest.lookout import ASK_EVERY, AWAY_FOR, RETRY_MAX, Lookout
from ingest.mail_url import MailURL
from ingest.settings import Settings
from ingest.stream.keys import Keys
from workers.alerts import rising
from workers.alerts.memory import MOST_PAUSE, Memory, Seen
from workers.alerts.rising import BEFORE, FACTOR, WINDOW, Counted, Sample
from workers.alerts.silence import BUSY, LEAST, WEEK, allowed_seconds
from workers.store.counting import HOUR

URL = "https://hooks.example.nl/geheim-pad?token=geheim-teken"
ROUTE = "smtp://user:geheim-woord@mail.example.nl?from=i@example.nl&to=a@example.nl,b@example.nl"


# --- what was told ---


def looks(memory: Memory, plan: str, takes: bool = True) -> list[str]:
    """Look once for each sign: `x` finds a trouble, `.` does not, `?` cannot tell; returns the news of each."""
    said = []
    for at, sign in enumerate(plan):
        memory.update({"c": Seen("text")} if sign == "x" else {}, ["c"] if sign == "?" else [], at)
        news = list(memory.news())
        said.append("".join("-" if one.is_over else "+" for one in news) or " ")
        for one in news:
            (memory.told if takes else memory.failed)(one)
        kept = orjson.loads(orjson.dumps(memory.kept()))  # each look is another process
        memory.troubles = Memory.read(kept).troubles
    return said


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ("x.x.x.", "      "),  # a restart, and another
        ("xxxxx", " +   "),
        ("xx..x", " + - "),
        ("xx.x..", " +   -"),
        ("xx??..", " +   -"),  # what cannot be looked at is neither wrong nor over
        ("xx?????", " +     "),
        ("xx..xx..", " + - + -"),
        ("..x?x", "    +"),
    ],
)
def test_what_lasts_is_told_once_and_when_it_is_over(plan: str, told: str) -> None:
    assert "".join(looks(Memory(), plan)) == told


def test_what_nobody_takes_is_tried_less_and_less_often() -> None:
    memory = Memory()
    tried = [at for at, news in enumerate(looks(memory, "x" * 400, takes=False)) if news == "+"]
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses[:6] == [2, 4, 8, 16, 32, 64]
    assert set(pauses[6:]) == {MOST_PAUSE}
    assert "+" in looks(memory, "x" * MOST_PAUSE)
    assert "+" not in looks(memory, "x" * MOST_PAUSE)


@pytest.mark.parametrize("kept", [{}, {"troubles": {"c": {"other": 1}}}, {"troubles": [1]}, {"refusals": [[1]]}])
def test_what_another_release_remembers_is_forgotten_if_it_cannot_be_read(kept: dict[str, Any]) -> None:
    assert Memory.read(kept) == Memory()


# --- rising ---


def samples(per_window: Sequence[float]) -> list[Sample]:
    found, total = [Sample(0.0, 0.0)], 0.0
    for at, number in enumerate(per_window, 1):
        total += number
        found = rising.kept(found, Sample(at * WINDOW, total))
    return found


@pytest.mark.parametrize(
    ("per_window", "rises"),
    [
        ([], False),
        ([99], False),
        ([100], True),
        ([50] * 20 + [200], False),
        ([50] * 20 + [260], True),
        ([1] * 20 + [99], False),
        ([1000] * 100, False),
    ],
)
def test_much_more_than_usual_and_not_just_more_than_nothing(per_window: list[float], rises: bool) -> None:
    assert (rising.rise(samples(per_window), 100) is not None) == rises


def test_what_goes_on_for_a_day_does_not_become_usual_while_it_lasts() -> None:
    began = rising.rise(samples([1] * 20 + [500]), 100)
    assert began is not None
    later = samples([1] * 20 + [500] * 150)
    assert rising.rise(later, 100) is None
    assert rising.rise(later, 100, began.usual) is not None


@given(st.lists(st.floats(0, 4000), max_size=80), st.floats(1, 100))
def test_samples_are_few_and_never_tell_of_more_than_there_was(per_step: list[float], seconds: float) -> None:
    found, total, at = [Sample(0.0, 0.0)], 0.0, 0.0
    for number in per_step:
        total, at = total + number, at + seconds
        found = rising.kept(found, Sample(at, total))
    assert found[-1] == Sample(at, total) or not per_step
    assert len(found) <= (BEFORE + WINDOW) / rising.APART + 3
    if (rise := rising.rise(found, 1.0)) is not None:
        assert rise.now <= total + 1e-6
        assert rise.now >= FACTOR * rise.usual


def test_counters_that_begin_anew_lose_nothing_and_add_nothing_twice() -> None:
    counted = Counted(0.0, None)
    counted.add({"a": 500.0})  # before anybody looked: not new
    for now in ({"a": 510.0, "b": 5.0}, {"a": 3.0, "b": 5.0}, {"b": 5.0}, {"b": 6.0}):
        counted.add(now)
    assert counted.total == 10 + 5 + 3 + 1


# --- silence ---

#: A Thursday, 11:30 UTC.
NOW = datetime(2026, 11, 26, 11, 30, tzinfo=UTC)


def history(hours: Sequence[int], weeks: int = 8, number: int = 50) -> dict[datetime, int]:
    """So many events in each of these hours of every working day, for so many weeks."""
    days = [NOW.replace(hour=0, minute=0) - timedelta(days=back) for back in range(1, 7 * weeks + 1)]
    return {day + hour * HOUR: number for day in days if day.weekday() < 5 for hour in hours}


def allowed(events: dict[datetime, int], now: datetime = NOW) -> float | None:
    seconds = allowed_seconds(events, now.timestamp())
    return None if seconds is None else seconds / 3600


def test_where_there_are_always_events_an_hour_without_any_is_unusual() -> None:
    assert allowed(history(range(24))) == 1
    assert allowed(history(range(24), number=BUSY)) == LEAST / 3600


def test_nights_and_weekends_are_usual() -> None:
    office = history(range(8, 18))
    assert allowed(office) == 1
    assert allowed(office, NOW.replace(hour=22)) == 7  # since 17:59, and an hour later by the other clock
    sunday = NOW + timedelta(days=3)
    assert allowed(office, sunday) == 44


def test_nothing_is_known_in_the_first_weeks() -> None:
    assert allowed(history(range(24), weeks=2)) is None
    assert allowed(history(range(24), weeks=3)) == 1
    assert allowed({}) is None


def test_one_quiet_week_among_many_does_not_become_usual_and_two_do() -> None:
    outage = {
        hour: n for hour, n in history(range(24)).items() if not NOW - WEEK - 9 * HOUR < hour < NOW - 6 * WEEK / 7
    }
    assert allowed(outage) == 1
    twice = {hour: n for hour, n in outage.items() if not NOW - 2 * WEEK - 9 * HOUR < hour < NOW - 13 * WEEK / 7}
    assert allowed(twice) == pytest.approx(11, abs=1)


# --- who looks ---


class Started:
    """Stands in for a process that looks."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.ended: int | None = 0

    def __call__(self, command: list[str]) -> "subprocess.Popen[bytes]":
        self.commands.append(command[command.index("alert") + 2 :])
        return cast("subprocess.Popen[bytes]", self)

    def poll(self) -> int | None:
        return self.ended


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def client() -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis(server=fakeredis.FakeServer())


SETTINGS = Settings.read({"INGEST_ALERT_URL": URL})


def test_one_looks_at_a_time_and_workers_first(client: fakeredis.FakeRedis) -> None:
    clock, started = Clock(), Started()
    endpoints = [Lookout(SETTINGS, client, False, True, clock, started) for _ in range(2)]
    worker = Lookout(SETTINGS, client, True, False, clock, started)
    for one in (*endpoints, worker):
        one.look()
    assert started.commands == [[]]  # the first endpoint, while no worker has looked
    client.delete(Keys().lookout)  # as it goes after a minute
    clock.now += ASK_EVERY
    client.set(Keys().looked, 1)
    for one in (*endpoints, worker):
        one.look()
    assert started.commands == [[], ["--worker"]]


def test_a_look_that_goes_on_is_not_joined_by_another(client: fakeredis.FakeRedis) -> None:
    clock, started = Clock(), Started()
    started.ended = None
    worker = Lookout(SETTINGS, client, True, False, clock, started)
    for _ in range(3):
        worker.look()
        client.flushall()
        clock.now += ASK_EVERY
    assert len(started.commands) == 1


@pytest.mark.parametrize("is_full", [False, True])
def test_an_endpoint_without_redis_says_so_once_and_when_it_is_back(
    client: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch, is_full: bool
) -> None:
    clock, started = Clock(), Started()
    endpoint = Lookout(SETTINGS, client, False, True, clock, started)
    silent = Lookout(SETTINGS, client, False, False, clock, started)  # another process of the same endpoint

    def refuse(*_: object, **__: object) -> None:
        raise redis.ResponseError("OOM command not allowed")

    def away(seconds: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(client, "set", refuse)
            for _ in range(seconds):
                for one in (endpoint, silent):
                    if is_full:
                        with suppress(redis.ResponseError):
                            one.look()
                    else:
                        one.redis_is_away()
                clock.now += 1

    away(int(AWAY_FOR) - 5)
    endpoint.look()  # it was back in between, so time begins anew
    started.commands.clear()
    away(3 * int(AWAY_FOR))
    assert started.commands == [["--redis-is-away"]]
    for _ in range(5):
        clock.now += ASK_EVERY
        endpoint.look()
    assert started.commands[1:2] == [["--redis-serves"]]
    assert ["--redis-serves"] not in started.commands[2:]


def test_that_redis_is_away_is_told_until_somebody_takes_it_and_so_is_its_end(client: fakeredis.FakeRedis) -> None:
    clock, started = Clock(), Started()
    endpoint = Lookout(SETTINGS, client, False, True, clock, started)
    tries: list[tuple[str, float]] = []

    def go_on(step: Callable[[], None], seconds: float) -> None:
        for _ in range(int(seconds / 10)):
            told = len(started.commands)
            step()
            tries.extend((told[0], clock.now) for told in started.commands[told:] if told != [])
            clock.now += ASK_EVERY

    def pauses(option: str) -> list[float]:
        """How long after a failure it was tried again, which is seen with the next step."""
        at = [moment for told, moment in tries if told == option]
        return [later - earlier - ASK_EVERY for earlier, later in pairwise(at)]

    def look() -> None:
        client.delete(Keys().lookout)  # it is this one's turn
        endpoint.look()

    started.ended = 1  # no receiver takes it
    go_on(endpoint.redis_is_away, 8 * RETRY_MAX)
    assert pauses("--redis-is-away")[:7] == [60, 120, 240, 480, 960, 1920, 3600]
    assert set(pauses("--redis-is-away")[7:]) == {RETRY_MAX}
    look()  # before anybody knew: nobody is told that it is over
    go_on(look, RETRY_MAX)
    assert not pauses("--redis-serves")
    tries.clear()
    started.ended = 0
    go_on(endpoint.redis_is_away, RETRY_MAX)
    assert [told for told, _ in tries] == ["--redis-is-away"]
    started.ended = -14  # held up until its alarm ended it
    go_on(look, RETRY_MAX)
    assert pauses("--redis-serves")[:3] == [60, 120, 240]
    assert [] in started.commands[-5:]  # what else may be wrong is looked for meanwhile
    started.ended = 0
    go_on(look, 4 * RETRY_MAX)
    assert len(tries) == 1 + len(pauses("--redis-serves")) + 1
    go_on(look, RETRY_MAX)
    assert len(tries) == 1 + len(pauses("--redis-serves")) + 1


def test_where_nobody_is_to_be_told_nobody_looks(client: fakeredis.FakeRedis) -> None:
    started = Started()
    lookout = Lookout(Settings.read({}), client, True, True, Clock(), started)
    lookout.look()
    for _ in range(3):
        lookout.redis_is_away()
    assert (started.commands, client.keys()) == ([], [])


def test_a_machine_that_can_start_nothing_more_goes_on(
    client: fakeredis.FakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: list[str]) -> "subprocess.Popen[bytes]":
        raise OSError(11, "Resource temporarily unavailable")

    Lookout(SETTINGS, client, True, False, Clock(), fail).look()
    assert "nobody can look" in caplog.text
    assert lookouts._start is not fail


# --- where they go ---


def test_a_route_of_mail_is_read() -> None:
    assert MailURL.read(ROUTE) == MailURL(
        "mail.example.nl", 587, False, "user", "geheim-woord", "i@example.nl", ("a@example.nl", "b@example.nl")
    )
    assert MailURL.read("smtps://h?from=a@b&to=c@d").port == 465
    assert MailURL.read("smtp://u%40x:p%2Fq@h:25/?from=a@b&to=c@d&to=e@f")[3:5] == ("u@x", "p/q")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.nl",
        "http://geheim@h?from=a@b&to=c@d",
        "smtp://h",
        "smtp://h?from=a@b",
        "smtp://h?from=a&to=c@d",
        "smtp://h?from=a@b&to=c@d%0aBcc:e@f",
        "smtp://h?from=a@b&to=c@d&geheim=x",
        "smtp://h:port?from=a@b&to=c@d",
        "smtp:///?from=a@b&to=c@d",
    ],
)
def test_a_route_that_is_none_is_refused_with_the_right_form(url: str) -> None:
    with pytest.raises(ValueError, match="smtp://user:password@host:587") as refused:
        MailURL.read(url)
    assert "geheim" not in str(refused.value)


def test_neither_url_is_shown() -> None:
    settings = Settings.read({"INGEST_ALERT_URL": URL, "INGEST_ALERT_SMTP": ROUTE})
    assert "geheim" not in repr(settings)
    from ingest import shown

    for secret in (URL, "/geheim-pad", "geheim-teken", "geheim-woord"):
        assert "geheim" not in shown.without_secrets(f"cannot connect to {secret}!")
