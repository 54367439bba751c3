"""Log files against the store as multisets: whatever was lost or late, nothing is missing, nothing there twice."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from ingest.copernica.events import LOGFILE, MICROS, Event, EventType, decode
from workers.reconcile import matching, partitions
from workers.reconcile.matching import Basis
from workers.reconcile.partitions import PARTS, Line, Partitions, Row

#: 2026-11-20 00:00 UTC, and the day's seconds.
START = 1_795_132_800
DAY = range(START, START + 86_400)
BLANK = decode(b"id=m", "application/x-www-form-urlencoded", "", 0)

#: Few of everything, so that equal events in one second are common, as are those that differ in one thing only.
truths = st.lists(
    st.tuples(
        st.sampled_from(("m1", "m2", "m3")),
        st.integers(0, 2),
        st.sampled_from(("jan@example.nl", "Jan@Example.nl", "eva@example.nl")),
        st.sampled_from(("192.0.2.1", "192.0.2.2")),
        st.sampled_from((None, "https://example.nl/a", "https://example.nl/b")),
    ),
    max_size=12,
)


def event(number: int, message: str, second: int, recipient: str | None, ip: str | None, url: str | None) -> Event:
    return BLANK._replace(
        delivery_id=b"call%08d" % number,
        type=EventType.CLICK,
        message_id=message,
        occurred_at=(START + second) * MICROS,
        recipient=recipient,
        ip=ip,
        url=url,
    )


def logged(truth: Iterable[tuple[str, int, str, str, str | None]]) -> list[Event]:
    return [event(number, *what) for number, what in enumerate(truth)]


class Model:
    """A store as a list, and what a reconciliation does to it."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events = list(events)

    def reconcile(self, log: Sequence[Event], basis: Basis | None = None) -> matching.Verdict:
        total = matching.Verdict()
        with Partitions.of_lines() as lines, Partitions.of_rows() as rows:
            for number, one in enumerate(log):
                lines.add(partitions.line_of(one, number))
            for one in self.events:
                rows.add(row_of(one))
            basis = basis or matching.measure(lines, rows)
            for part in range(PARTS):
                sides = map(Line._make, lines.part(part)), map(Row._make, rows.part(part))
                verdict = matching.match(*sides, basis, range(DAY.start + basis.offset, DAY.stop + basis.offset))
                total.found += verdict.found
                total.only_in_store += verdict.only_in_store
                total.missing += verdict.missing
                total.superseded += verdict.superseded
        for number, occurrence in total.missing:
            one = log[number]
            name = partitions.delivery_id(one.occurred_at // MICROS, partitions.digest(one), occurrence)
            assert name not in {other.delivery_id for other in self.events}, "an id is never given twice"
            moved = one.occurred_at + basis.offset * MICROS
            self.events.append(one._replace(delivery_id=name, source=LOGFILE, occurred_at=moved))
        self.events = [one for one in self.events if one.delivery_id not in total.superseded]
        return total


def row_of(one: Event) -> bytes:
    timed = one.occurred_at != one.received_at
    return partitions.row_of(
        one.delivery_id,
        one.message_id,
        one.occurred_at,
        one.recipient,
        one.ip,
        one.url,
        one.source == LOGFILE,
        timed,
    )


def multiset(events: Iterable[Event]) -> Counter[object]:
    return Counter((e.message_id, e.occurred_at, (e.recipient or "").lower(), e.ip, e.url) for e in events)


def few(one: Event) -> tuple[object, ...]:
    """What every event of the tests tells."""
    return one.message_id, one.occurred_at, (one.recipient or "").lower()


@given(truths, st.data())
def test_after_it_the_store_is_the_truth_and_stays_so(
    truth: list[tuple[str, int, str, str, str | None]], data: st.DataObject
) -> None:
    log = logged(truth)
    lost = {number for number in range(len(log)) if data.draw(st.booleans())}
    store = Model(one for number, one in enumerate(log) if number not in lost)
    first = store.reconcile(log)
    assert len(first.missing) == len(lost)
    assert first.found + len(first.missing) == len(log)
    assert multiset(store.events) == multiset(log)

    again = store.reconcile(log)
    assert (again.missing, again.superseded, again.only_in_store, again.found) == ([], [], 0, len(log))

    late = {number for number in lost if data.draw(st.booleans())}
    store.events += [log[number] for number in late]
    third = store.reconcile(log)
    assert multiset(store.events) == multiset(log), "what was recovered gives way to its own call"
    assert len(third.superseded) == len(late)
    assert {log[number].delivery_id for number in late} <= {one.delivery_id for one in store.events}
    assert not store.reconcile(log).superseded


@given(truths, truths, st.data())
def test_what_only_the_store_has_is_reported_and_left_alone(
    truth: list[tuple[str, int, str, str, str | None]],
    more: list[tuple[str, int, str, str, str | None]],
    data: st.DataObject,
) -> None:
    log = logged(truth)
    extra = [event(1000 + n, what[0], what[1] + 10, *what[2:]) for n, what in enumerate(more)]
    store = Model([one for one in log if data.draw(st.booleans())] + extra)
    assert store.reconcile(log, Basis()).only_in_store == len(extra)
    assert multiset(store.events) == multiset(log + extra)


@given(truths, st.data())
@example([("m1", 0, "jan@example.nl", "192.0.2.1", None), ("m1", 0, "jan@example.nl", "192.0.2.2", None)], None)
def test_an_address_a_link_or_a_recipient_counts_only_where_both_sides_have_it(
    truth: list[tuple[str, int, str, str, str | None]], data: st.DataObject | None
) -> None:
    draw: Callable[[], bool] = (lambda: data.draw(st.booleans())) if data else (lambda: True)
    log = logged(truth)
    calls = [one._replace(ip=one.ip if draw() else None, url=one.url if draw() else None) for one in log if draw()]
    store = Model(calls)
    store.reconcile(log)
    assert Counter(map(few, store.events)) == Counter(map(few, log))
    assert not store.reconcile(log).missing


def test_a_call_that_does_not_tell_its_time_or_recipient_is_found_by_its_message() -> None:
    complaint = event(0, "m1", 60, "jan@example.nl", None, None)
    received = (START + 75) * MICROS + 123_456
    store = Model([complaint._replace(recipient=None, occurred_at=received, received_at=received)])
    verdict = store.reconcile([complaint, event(1, "m2", 60, "jan@example.nl", None, None)])
    assert (verdict.found, [number for number, _ in verdict.missing]) == (1, [1])


def test_a_constant_offset_of_the_clocks_is_measured_and_made_up_for() -> None:
    log = [event(n, f"m{n}", 7 * n, "jan@example.nl", "192.0.2.1", None) for n in range(100)]
    for offset in (7200, -3600, 3):
        moved = [one._replace(occurred_at=one.occurred_at + offset * MICROS) for one in log]
        store = Model(one for n, one in enumerate(moved) if n % 3)
        verdict = store.reconcile(log)
        assert (verdict.found, len(verdict.missing)) == (66, 34)
        assert multiset(store.events) == multiset(moved), "recovered by the clock of the webhooks"
        assert not store.reconcile(log).missing


def test_events_recovered_under_another_time_zone_are_known_again() -> None:
    log = [event(n, f"m{n}", 7 * n, "jan@example.nl", "192.0.2.1", None) for n in range(100)]
    store = Model(one for n, one in enumerate(log) if n % 3)
    store.reconcile([one._replace(occurred_at=one.occurred_at - 3600 * MICROS) for one in log])
    assert multiset(store.events) == multiset(log)
    assert not store.reconcile(log).missing, "after INGEST_LOGFILE_TZ was set"


def test_what_both_sides_write_differently_is_not_compared() -> None:
    log = [event(n, f"m{n}", 7 * n, "jan@example.nl", "192.0.2.1", f"[{n}]") for n in range(100)]
    store = Model(one._replace(url=f"https://example.nl/{n}") for n, one in enumerate(log) if n % 3)
    verdict = store.reconcile(log)
    assert (verdict.found, len(verdict.missing)) == (66, 34)


def test_an_id_from_a_log_file_begins_with_its_time_and_tells_equal_events_apart() -> None:
    one = event(0, "m1", 60, "jan@example.nl", "192.0.2.1", None)
    ids = {partitions.delivery_id(START + 60, partitions.digest(one), occurrence) for occurrence in range(3)}
    assert len(ids) == 3
    assert {int.from_bytes(name[:4], "big") for name in ids} == {START + 60}
    assert {len(name) for name in ids} == {12}
