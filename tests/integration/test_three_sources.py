"""One event by webhook, over REST and in a log file, in any order, late or twice: stored once, handed on once."""

import io
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from ingest import failpoints
from ingest.batch import unpack
from ingest.copernica.events import LOGFILE, MICROS, REST, WEBHOOK, Event, EventType
from ingest.copernica.logfiles.kinds import KINDS
from ingest.errors import Collided
from tests.support.builders import event
from tests.support.logs import DAY, START, csv_of, no_progress
from tests.support.sql import everything, execute, rows
from workers.operations.erase import erase
from workers.reconcile.logfile import LogFile
from workers.reconcile.recovery import Recovery, RecoveryOptions
from workers.reconcile.report import DayReport
from workers.reconcile.results import Results, Told
from workers.records import read, record_of
from workers.store import comparisons, recovered
from workers.store.store import Store


class Click(NamedTuple):
    """One click: what happened, whoever tells it."""

    message: str
    second: int
    recipient: str
    ip: str
    link: str


#: Few of everything, so that equal clicks in one second are common, as are those that differ in one thing only.
clicks = st.lists(
    st.builds(
        Click,
        st.sampled_from(("m1", "m2")),
        st.integers(0, 2),
        st.sampled_from(("jan@example.nl", "eva@example.nl")),
        st.sampled_from(("192.0.2.1", "192.0.2.2")),
        st.sampled_from(("https://example.nl/a", "https://example.nl/b")),
    ),
    min_size=1,
    max_size=6,
)
CLICK = Click("m1", 0, "jan@example.nl", "192.0.2.1", "https://example.nl/a")
BLANK_IP = frozenset(["webhook ip"])
#: By which the clocks are compared: of these everybody tells.
OTHERS = [Click(f"o{n}", 60 * n, "piet@example.nl", "192.0.2.9", f"https://example.nl/{n}") for n in range(1, 81)]


class Site:
    """A store, and what the three sources bring to it. Webhooks' clock is some seconds `ahead`."""

    def __init__(self, store: Store, truth: Sequence[Click], ahead: int = 0, blank: frozenset[str] = frozenset()):
        self.store = store
        self.truth = [*truth, *OTHERS]
        self._ahead = ahead
        #: What the sources do not tell: `webhook ip`, say.
        self._blank = blank

    def call(self, number: int) -> Event:
        one = self.truth[number]
        moment = (START + one.second + self._ahead) * MICROS
        return event(number)._replace(
            delivery_id=(START + 50_000).to_bytes(4, "big") + number.to_bytes(8, "big"),
            type=EventType.CLICK,
            message_id=one.message,
            occurred_at=moment,
            received_at=(START + 50_000) * MICROS,
            recipient=one.recipient,
            ip=self._told(WEBHOOK, "ip", one.ip) or None,
            url=self._told(WEBHOOK, "link", one.link) or None,
            user_agent=None,
            profile=None,
            tags=[],
            payload={},
        )

    def calls(self, numbers: Iterable[int], hand_on: bool = True) -> Any:
        some = [self.call(number) for number in numbers]
        handed = {one.delivery_id: record_of(one) for one in some} if hand_on else None
        return self.store.add(some, hand_on=handed)

    def _told(self, source: str, what: str, value: str) -> str:
        return "" if f"{source} {what}" in self._blank else value

    def _written(self, number: int) -> str:
        return f"{datetime.fromtimestamp(START + self.truth[number].second, UTC):%Y-%m-%d %H:%M:%S}"

    def results(self, numbers: Iterable[int]) -> None:
        with Results(EventType.CLICK) as results:
            results.add(
                Told(
                    "ms",
                    number,
                    self._written(number),
                    {
                        "id": self.truth[number].message,
                        "ip": self._told(REST, "ip", self.truth[number].ip),
                        "original": "https://example.nl/{$link}",
                        "profile": number,
                    },
                )
                for number in numbers
            )
            Recovery(self.store, RecoveryOptions(hand_on=True), no_progress).results(
                results, range(START, START + 86_400)
            )

    def log(self, numbers: Iterable[int], whole: bool = True, hand_on: bool = True) -> DayReport:
        lines = [
            {
                "id": self.truth[number].message,
                "time": self._written(number),
                "email": self.truth[number].recipient,
                "ip": self._told(LOGFILE, "ip", self.truth[number].ip),
                "linkinfo": self._told(LOGFILE, "link", self.truth[number].link),
                "tags": "nieuwsbrief",
            }
            for number in numbers
        ]
        content = csv_of(
            KINDS["cdm-click"].columns,
            [{**dict.fromkeys(KINDS["cdm-click"].columns, ""), **line} for line in lines],
        )
        name = f"cdm-click.{DAY}.log"
        report = DayReport(DAY, whole=whole)
        Recovery(self.store, RecoveryOptions(hand_on=hand_on), no_progress).day(
            report, [LogFile(name, KINDS["cdm-click"], DAY, partial(io.BytesIO, content), len(content))]
        )
        assert report.ok, report.kinds
        return report

    def log_and_calls(self, numbers: Sequence[int]) -> None:
        self.log(numbers)
        self.calls(numbers)

    def assert_true(self) -> None:
        """The store is the truth, and each event was handed on once."""
        stored = everything(self.store)
        few = Counter((e.message_id, e.occurred_at // MICROS - START - self._ahead, e.recipient) for e in stored)
        assert few == Counter((one.message, one.second, one.recipient) for one in self.truth)
        if not self._blank:
            assert Counter((e.ip, e.url) for e in stored) == Counter((one.ip, one.link) for one in self.truth)
        handed = handed_on(self.store)
        assert Counter(one.delivery_id for one in handed) == Counter(one.delivery_id for one in stored)
        by_source = "SELECT source, sum(number) FROM event_counts GROUP BY 1 HAVING sum(number) <> 0 ORDER BY 1"
        assert rows(self.store, by_source) == sorted(Counter(one.source for one in stored).items())


def handed_on(store: Store) -> list[Event]:
    with store.reading() as connection:
        packed = connection.execute(text("SELECT packed FROM outbox")).scalars().all()
    events = [read(record) for batch in packed for record in unpack(bytes(batch))]
    assert all(isinstance(one, Event) for one in events)
    return events  # type: ignore[return-value]


def empty(store: Store) -> None:
    execute(store, *(f"DELETE FROM {name}" for name in ("events", "recovered", "outbox", "event_counts")))


anything = given(
    truth=clicks,
    ahead=st.sampled_from((0, 7, -3, 7200, -19_796)),
    blank=st.frozensets(
        st.sampled_from(("webhook ip", "webhook link", "rest ip", "logfile ip", "logfile link")), max_size=3
    ),
    data=st.data(),
)


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@anything
def test_whatever_comes_in_whatever_order_the_store_is_the_truth(store: Store, **drawn: Any) -> None:
    assert_true_in_whatever_order(store, **drawn)


@pytest.mark.slow
@pytest.mark.timeout(600)  # seconds; much of it is for machines that are busy
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@anything
def test_so_it_is_with_many_more_examples(store: Store, **drawn: Any) -> None:
    assert_true_in_whatever_order(store, **drawn)


def assert_true_in_whatever_order(
    store: Store, truth: list[Click], ahead: int, blank: frozenset[str], data: st.DataObject
) -> None:
    empty(store)
    site = Site(store, truth, ahead, blank)
    others = range(len(truth), len(site.truth))
    site.calls(others)
    for _ in range(data.draw(st.integers(0, 6))):
        source = data.draw(st.sampled_from((WEBHOOK, REST, LOGFILE)))
        some = sorted(data.draw(st.sets(st.integers(0, len(truth) - 1), min_size=1)))
        if source == WEBHOOK:
            site.calls([*some, *data.draw(st.sampled_from(([], some)))])
        elif source == REST:
            site.results([*some, *others])
        else:
            site.log([*some, *others], whole=False)
    site.log(range(len(site.truth)))
    site.assert_true()
    assert not site.log(range(len(site.truth))).total("recovered")
    site.calls(range(len(truth)))
    site.assert_true()
    assert site.log(range(len(site.truth))).total("superseded") == 0
    site.assert_true()


def test_a_late_call_upgrades_its_event_and_fills_nothing_out(store: Store) -> None:
    """Its own values count, what it lacks stays, and the delivery id is the one that handlers know."""
    site = Site(store, [CLICK], blank=BLANK_IP)
    site.calls(range(1, len(site.truth)))
    site.results(range(len(site.truth)))
    (result,) = [one for one in everything(store) if one.source == REST]
    assert (result.recipient, result.profile, result.url) == (None, 0, "https://example.nl/{$link}")
    assert site.log(range(len(site.truth))).total("filled") == len(site.truth), "no call told its address"
    (line,) = [one for one in everything(store) if one.source == LOGFILE]
    assert line == result._replace(
        source=LOGFILE, recipient="jan@example.nl", url="https://example.nl/a", tags=["nieuwsbrief"],
        payload=result.payload,
    )  # fmt: skip
    assert site.calls([0, 0]) == (0, 0, 1)
    call = site.call(0)
    (stored,) = [one for one in everything(store) if one.message_id == "m1"]
    assert stored == call._replace(
        delivery_id=result.delivery_id, ip="192.0.2.1", profile=0, tags=["nieuwsbrief"], payload=result.payload
    )
    assert site.calls([0]) == (0, 0, 0), "a double"
    assert site.log(range(len(site.truth))).total("filled") == 0
    site.assert_true()


@pytest.mark.parametrize("ahead", [0, 7213, *(pytest.param(n, marks=pytest.mark.slow) for n in (7200, -34_200))])
def test_calls_of_a_time_of_which_nothing_came_are_known_though_no_clock_was_measured(
    store: Store, ahead: int
) -> None:
    site = Site(store, [], ahead)
    everyone = range(len(site.truth))
    site.log(everyone)
    assert site.calls(everyone) == (0, 0, len(everyone))
    assert len(handed_on(store)) == len(everyone)
    assert {one.source for one in everything(store)} == {WEBHOOK}
    site.assert_true()
    assert_nothing_to_do(site)


def assert_nothing_to_do(site: Site) -> None:
    report = site.log(range(len(site.truth)))
    assert [report.total(name) for name in ("recovered", "superseded", "filled", "only_in_store")] == [0] * 4


def test_another_event_of_the_same_message_is_none_that_was_recovered(store: Store) -> None:
    site = Site(store, [CLICK, CLICK._replace(second=1), CLICK._replace(recipient="eva@example.nl")])
    others = range(3, len(site.truth))
    site.calls(others)
    site.results([0, *others])
    assert site.calls([1]) == (1, 0, 0)
    assert site.calls([0]) == (0, 0, 1)
    site.log([0, 1, *others])
    assert site.calls([2]) == (1, 0, 0), "somebody else's"
    site.assert_true()


def test_a_call_that_was_stored_already_is_never_that_of_another_event(store: Store) -> None:
    """Two equal clicks, of which one call was lost: the other comes again from a drain that died."""
    site = Site(store, [CLICK, CLICK])
    site.calls([1, *range(2, len(site.truth))])
    site.log(range(len(site.truth)))
    assert site.calls([1]) == (0, 0, 0)
    site.assert_true()
    assert site.calls([0, 1]) == (0, 0, 1)
    site.assert_true()
    assert_nothing_to_do(site)


def test_what_was_recovered_without_handlers_is_handed_on_with_its_call(store: Store) -> None:
    site = Site(store, [CLICK])
    everyone = range(len(site.truth))
    site.log(everyone, hand_on=False)
    assert handed_on(store) == []
    site.calls(everyone)
    site.calls(everyone)
    site.assert_true()


def test_who_was_erased_does_not_come_back_with_a_late_call(store: Store) -> None:
    site = Site(store, [CLICK])
    everyone = range(len(site.truth))
    site.log(everyone)
    erase(store, CLICK.recipient, dry_run=False)
    assert rows(store, "SELECT count(*) FROM recovered") == [(len(OTHERS),)]
    assert site.calls(everyone) == (0, 1, len(OTHERS))
    assert not [one for one in everything(store) if one.recipient == CLICK.recipient]


def test_the_line_of_a_result_does_not_bring_back_who_was_erased(store: Store) -> None:
    """A result does not tell whose it is: once its line says so, it goes."""
    site = Site(store, [CLICK])
    site.calls(range(1, len(site.truth)))
    site.results(range(len(site.truth)))
    erase(store, CLICK.recipient, dry_run=False)
    assert len(everything(store)) == len(site.truth)
    site.log(range(len(site.truth)))
    assert {one.recipient for one in everything(store)} == {OTHERS[0].recipient}
    assert rows(store, "SELECT count(*) FROM recovered") == [(0,)]
    assert site.log(range(len(site.truth))).total("erased") == 1


def test_what_a_late_call_tells_while_somebody_is_erased_stays(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that only mentions the person was read before its call came in, and is blanked afterwards."""
    link = "https://example.nl/a?to=piet%40example.nl"
    site = Site(store, [CLICK._replace(link=link), CLICK._replace(message="m2", link=link)], blank=BLANK_IP)
    site.log([0, 1])
    found = Store.erase

    def erasing(self: Store, *args: Any) -> None:
        with Store.open(database) as other:
            drain = Site(other, [CLICK, CLICK])
            assert drain.calls([0]).upgraded == 1
            drain.store.supersede([one.delivery_id for one in everything(other) if one.message_id == "m2"])
        found(self, *args)

    monkeypatch.setattr(Store, "erase", erasing)
    erase(store, "piet@example.nl", dry_run=False)
    (left,) = everything(store)
    assert (left.source, left.url) == (WEBHOOK, CLICK.link)


def test_what_is_noted_of_recovered_events_goes_with_them_and_when_no_call_can_come(store: Store) -> None:
    site = Site(store, [CLICK])
    site.log(range(len(site.truth)))
    store.expire_notes(START + recovered.KEPT)
    assert rows(store, "SELECT count(*) FROM recovered") == [(len(site.truth),)]
    store.expire(START + 60 * 40)
    assert rows(store, "SELECT count(*) FROM recovered") == rows(store, "SELECT count(*) FROM events")
    store.expire_notes(START + recovered.KEPT + 86_400)
    assert rows(store, "SELECT count(*) FROM recovered") == [(0,)]


def test_what_a_drain_could_not_tell_is_settled_by_reconciling(store: Store) -> None:
    """The notes are gone: the call is stored beside its event, whichever source that came from."""
    site = Site(store, [CLICK, CLICK._replace(message="m2")])
    others = range(2, len(site.truth))
    site.calls(others)
    site.results([0, *others])
    site.log([1, *others], whole=False)
    execute(store, "DELETE FROM recovered")
    assert site.calls([0, 1]).new == 2
    assert site.log(range(len(site.truth)), whole=False).total("superseded") == 1, "its line names it"
    assert site.log(range(len(site.truth))).total("superseded") == 1
    assert {one.source for one in everything(store)} == {WEBHOOK}
    assert len(everything(store)) == len(site.truth)
    assert_nothing_to_do(site)


# --- at the same moment ---


def test_a_call_that_is_stored_while_its_event_is_compared_is_found_in_the_same_run(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a drain in another connection, between the comparison and the insertion."""
    site = Site(store, [CLICK, CLICK._replace(message="m2"), CLICK._replace(message="m3")])
    everyone = range(len(site.truth))
    site.calls(range(3, len(site.truth)))
    with Store.open(database) as other:
        drain = Site(other, site.truth[:3])
        late = iter(([0, 1],))
        recover = Store.recover

        def recovering(self: Store, *args: Any) -> Any:
            drain.calls(next(late))
            return recover(self, *args)

        monkeypatch.setattr(Store, "recover", recovering)
        report = site.log(everyone)
    assert (report.total("recovered"), report.total("in_store")) == (1, len(site.truth) - 1)
    assert rows(store, "SELECT count(*) FROM comparisons") == rows(store, "SELECT count(*) FROM comparison_calls")
    site.assert_true()


def test_an_event_that_changes_while_others_are_compared_has_them_compared_again(store: Store) -> None:
    """Its call tells another time: who reads in order of time meanwhile may find it nowhere."""
    site = Site(store, [CLICK, CLICK._replace(message="m2")], ahead=-7200)
    site.log([0, 1])
    seconds = range(START - 900, START + 86_400)
    with store.comparing("click", seconds) as one, store.comparing("click", seconds) as own:
        assert site.calls([0]).upgraded == 1
        (other,) = [event for event in everything(store) if event.message_id == "m2"]
        assert store.fill_in([other._replace(profile=7)], own.number) == 1
        again = [event._replace(delivery_id=bytes(12)) for event in everything(store)]
        assert len(store.recover(again, one, 0).late) == 2
        assert len(store.recover(again, own, 0).late) == 1


@pytest.mark.slow
@pytest.mark.parametrize("point", ["compared", "recovering", "upgrading"])
def test_who_fails_in_a_recovery_or_an_upgrade_leaves_nothing_half_done(store: Store, point: str) -> None:
    site = Site(store, [CLICK, CLICK._replace(message="m2")])
    everyone = range(len(site.truth))
    site.calls(everyone[2:])
    failpoints.arm({failpoints.VARIABLE: f"{point}=raise"})
    try:
        with pytest.raises(failpoints.Injected):
            site.log_and_calls(everyone)
    finally:
        failpoints.arm({})
    assert rows(store, "SELECT count(*) FROM recovered") == [(2 if point == "upgrading" else 0,)]
    site.log_and_calls(everyone)
    assert rows(store, "SELECT count(*) FROM recovered WHERE call_id IS NOT NULL") == [(2,)]
    site.assert_true()
    assert_nothing_to_do(site)


def test_a_late_call_whose_event_the_retention_deletes_at_that_moment_is_stored_as_new(
    store: Store, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("nobody else writes during a transaction")
    site = Site(store, [CLICK, CLICK._replace(message="m2")])
    site.log([0, 1], hand_on=False)
    with Store.open(database) as other:
        delete = partial(execute, other, "DELETE FROM events WHERE message_id = 'm1'")
        monkeypatch.setattr(failpoints, "armed", True)
        monkeypatch.setattr(failpoints, "reach", lambda point: delete() if point == "upgrading" else None)
        added = site.calls([0, 1])
    assert (added.new, added.upgraded) == (1, 1)
    assert {one.message_id: one.source for one in everything(store)} == {"m1": WEBHOOK, "m2": WEBHOOK}
    assert {one.delivery_id for one in handed_on(store)} == {one.delivery_id for one in everything(store)}
    assert rows(store, "SELECT count(*) FROM recovered WHERE call_id IS NOT NULL") == [(1,)]


def test_a_comparison_that_was_taken_for_dead_inserts_nothing(store: Store) -> None:
    """Nobody noted for it what came in. Others are not slowed down by it for long."""
    site = Site(store, [])
    with store.comparing("click", range(START, START + 86_400)) as slept:
        execute(store, f"UPDATE comparisons SET began = began - {comparisons.STALE + 1}")
        with store.comparing("click", range(1)):
            assert rows(store, "SELECT count(*) FROM comparisons") == [(1,)]
        call = site.call(0)
        assert store.recover([call], slept, 0) == (0, 0, 0, [call])


def test_of_comparisons_with_too_many_notes_the_oldest_counts_as_dead(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "MOST_NOTES", 4)
    site, seconds = Site(store, []), range(START, START + 86_400)
    with store.comparing("click", seconds) as older:
        for number in range(3):
            site.calls([number])
        with store.comparing("click", seconds) as younger:
            site.calls([3])
            assert rows(store, "SELECT number FROM comparisons") == [(younger.number,)]
            assert rows(store, "SELECT comparison FROM comparison_calls") == [(younger.number,)]
            calls = [site.call(number) for number in (3, 4)]
            assert store.recover(calls, older, 0).late == calls
            assert store.recover(calls, younger, 0).late == calls[:1]


@pytest.mark.slow
def test_drains_and_recoveries_at_the_same_time_store_each_event_once(store: Store, database: str) -> None:
    """Two of each, in threads with connections of their own, over the same calls, lines and results."""
    truth = [
        Click(f"m{n % 40}", n // 40, "jan@example.nl", "192.0.2.1", f"https://example.nl/{n}") for n in range(240)
    ]
    site = Site(store, truth)
    others = range(len(truth), len(site.truth))
    site.calls(others)
    errors: list[BaseException] = []

    def run(work: Any) -> None:
        try:
            with Store.open(database) as own:
                done = False
                while not done:
                    with suppress(Collided):  # as whoever runs these tries again later
                        work(Site(own, truth))
                        done = True
        except BaseException as error:
            errors.append(error)

    def drain(first: int, step: int, own: Site) -> None:
        for at in range(first, len(truth), 40):
            own.calls(range(at, min(at + 40, len(truth)), step))

    works = [
        partial(drain, 0, 1),
        partial(drain, 1, 2),
        lambda own: own.log(range(len(site.truth))),
        lambda own: own.results(range(len(site.truth))),
    ]
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    site.calls(range(len(truth)))
    assert_nothing_to_do(site)
    site.assert_true()
