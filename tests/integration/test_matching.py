"""Log files against the store as multisets: whatever was lost or late, nothing is missing, nothing there twice."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from ingest.copernica.events import LOGFILE, MICROS, Event, EventType, decode
from ingest.copernica.logfiles.fields import LINK_ID
from tests.support.has import assert_has
from tests.support.logs import portion_of
from workers.reconcile import matching, partitions
from workers.reconcile.basis import Basis, clocks, measure
from workers.reconcile.partitions import PARTS, Partitions, Stored

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

    def reconcile(
        self, log: Sequence[Event], basis: Basis | None = None, suspects: Sequence[Event] = ()
    ) -> matching.Verdict:
        total = matching.Verdict()
        with Partitions.of_lines() as lines, Partitions.of_rows() as rows, Partitions.of_lines() as suspected:
            suspected.add(lines_of(suspects))
            lines.add(lines_of(log))
            rows.add(rows_of(self.events))
            basis = basis or measure(lines, rows)
            for part in range(PARTS):
                sides = lines.data(part), rows.data(part)
                day = range(DAY.start + basis.offset, DAY.stop + basis.offset)
                verdict = matching.compare(*sides, basis, day, suspected.data(part))
                assert verdict == matching.match(
                    partitions.lines(sides[0]),
                    partitions.rows(sides[1]),
                    basis,
                    day,
                    partitions.lines(suspected.data(part)),
                ), "with pairs taken out first, the outcome is the same"
                total.in_store += verdict.in_store
                total.suspected += verdict.suspected
                total.only_in_store += verdict.only_in_store
                total.missing += verdict.missing
                total.superseded += verdict.superseded
        for number, occurrence in total.missing:
            one = log[number]
            name = partitions.delivery_id(one.occurred_at // MICROS, partitions.digest_of(one), occurrence)
            assert name not in {other.delivery_id for other in self.events}, "an id is never given twice"
            moved = one.occurred_at + basis.offset * MICROS
            self.events.append(one._replace(delivery_id=name, source=LOGFILE, occurred_at=moved))
        self.events = [one for one in self.events if one.delivery_id not in total.superseded]
        return total


def lines_of(events: Sequence[Event]) -> Iterator[bytes]:
    said = portion_of(events)
    return partitions.lines_of(said, partitions.digests_of(EventType.CLICK, said), 0)


def rows_of(events: Sequence[Event]) -> Iterator[bytes]:
    return partitions.rows_of(
        Stored(
            [one.message_id for one in events],
            [one.occurred_at // MICROS for one in events],
            [one.recipient for one in events],
            [one.ip for one in events],
            [one.url for one in events],
            [one.delivery_id for one in events],
            [one.source == LOGFILE for one in events],
            [one.occurred_at != one.received_at for one in events],
        )
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
    assert first.in_store + len(first.missing) == len(log)
    assert multiset(store.events) == multiset(log)

    again = store.reconcile(log)
    assert_has(again, missing=[], superseded=[], only_in_store=0, in_store=len(log))

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
    assert (verdict.in_store, [number for number, _ in verdict.missing]) == (1, [1])


def test_a_constant_offset_of_the_clocks_is_measured_and_made_up_for() -> None:
    log = [event(n, f"m{n}", 7 * n, "jan@example.nl", "192.0.2.1", None) for n in range(100)]
    for offset in (7200, -3600, 3):
        moved = [one._replace(occurred_at=one.occurred_at + offset * MICROS) for one in log]
        store = Model(one for n, one in enumerate(moved) if n % 3)
        verdict = store.reconcile(log)
        assert (verdict.in_store, len(verdict.missing)) == (66, 34)
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
    assert (verdict.in_store, len(verdict.missing)) == (66, 34)


#: What an injective function may make of a column's value: the link's number for its address, another's address.
rewritings = st.sampled_from(("number", "swapped", "mapped", "same", "blank"))
SWAPPED = {"192.0.2.1": "192.0.2.2", "192.0.2.2": "192.0.2.1"}


def rewritten(one: Event, ip: str, url: str) -> Event:
    return one._replace(ip=_rewritten(one.ip, ip), url=_rewritten(one.url, url))


def _rewritten(value: str | None, how: str) -> str | None:
    if value is None or how == "same":
        return value
    if how == "swapped":
        return SWAPPED.get(value, value[::-1])
    return {"number": str(sum(value.encode())), "mapped": f"::FFFF:{value}", "blank": None}[how]


@given(truths, rewritings, rewritings, st.booleans(), st.data())
def test_whatever_one_side_makes_of_a_column_no_event_is_made_twice(
    truth: list[tuple[str, int, str, str, str | None]], ip: str, url: str, in_store: bool, data: st.DataObject
) -> None:
    log = logged(truth)
    calls = [rewritten(one, ip, url) for one in log] if in_store else log
    log = log if in_store else [rewritten(one, ip, url) for one in log]
    lost = {number for number in range(len(log)) if data.draw(st.booleans())}
    store = Model(call for number, call in enumerate(calls) if number not in lost)
    assert len(store.reconcile(log).missing) == len(lost)
    assert Counter(map(few, store.events)) == Counter(map(few, log))
    again = store.reconcile(log)
    assert (again.missing, again.superseded, again.only_in_store) == ([], [], 0)

    store.events += [calls[number] for number in lost]
    third = store.reconcile(log)
    assert (third.missing, len(third.superseded)) == ([], len(lost))
    assert Counter(one.delivery_id for one in store.events) == Counter(one.delivery_id for one in calls)


blanks = st.sets(st.sampled_from(("recipient", "ip", "url", "message_id", "user_agent", "tags")))


@given(truths, blanks, blanks, st.booleans(), st.data())
def test_whatever_is_blank_on_one_side_a_second_run_changes_nothing(
    truth: list[tuple[str, int, str, str, str | None]],
    first: set[str],
    second: set[str],
    cell_by_cell: bool,
    data: st.DataObject,
) -> None:
    def blanked(events: Iterable[Event], names: set[str]) -> list[Event]:
        return [one._replace(**some_of(names)) for one in events]

    def some_of(names: set[str]) -> dict[str, Any]:
        return {name: None for name in sorted(names) if not cell_by_cell or data.draw(st.booleans())}

    truth_log = logged(truth)
    log = blanked(truth_log, first)
    store = Model(one for one in blanked(truth_log, second) if data.draw(st.booleans()))
    there = len(store.events)
    missing = store.reconcile(log).missing
    if not cell_by_cell and "message_id" not in first ^ second:
        assert len(store.events) == len(log) >= there
    before = list(store.events)
    again = store.reconcile(log)
    assert (again.missing, again.superseded) == ([], [])
    assert store.events == before
    assert len(missing) + there == len(before)
    if not cell_by_cell and "message_id" not in first:
        other_form = store.reconcile(blanked(truth_log, second - {"message_id"}))
        assert (other_form.missing, other_form.superseded) == ([], [])


def test_the_number_of_a_link_is_not_its_address() -> None:
    calls = [
        event(n, f"m{n % 2}", n // 2, "jan@example.nl", "192.0.2.1", f"https://example.nl/{n}") for n in range(6)
    ]
    log = [one._replace(url="4711") for one in calls]
    store = Model(calls)
    assert (store.reconcile(log).in_store, store.events) == (6, calls)


def test_of_several_links_in_one_second_the_one_that_is_missing_is_recovered() -> None:
    log = [event(n, "m", 0, "jan@example.nl", "192.0.2.1", f"https://example.nl/{n}") for n in range(4)]
    store = Model(log[n] for n in (0, 3))
    store.reconcile(log)
    assert multiset(store.events) == multiset(log)


def test_names_brackets_and_case_do_not_make_another_event() -> None:
    call = event(0, "<5FD2C1@example.net>", 0, "Zoë <ZOË@exämple.nl>", "::ffff:192.0.2.7", None)
    line = call._replace(message_id="5fd2c1@example.net", recipient="zoë@xn--exmple-cua.nl", ip="192.0.2.7")
    assert Model([call]).reconcile([line]).missing == []


def test_clocks_that_round_differently_are_followed() -> None:
    log = [event(n, f"m{n}", 7 * n, "jan@example.nl", "192.0.2.1", None) for n in range(100)]
    log += [event(200 + n, "more", n, "eva@example.nl", "192.0.2.1", None) for n in range(9)]
    rounded = [one._replace(occurred_at=one.occurred_at + n % 2 * MICROS) for n, one in enumerate(log)]
    store = Model(one for n, one in enumerate(rounded) if n % 5)
    verdict = store.reconcile(log)
    assert len(verdict.missing) == 22
    again = store.reconcile(log)
    assert (again.missing, again.superseded) == ([], [])
    store.events += [one for n, one in enumerate(rounded) if not n % 5]
    assert len(store.reconcile(log).superseded) == 22


def test_a_change_to_summer_time_within_the_day_is_followed() -> None:
    log = [event(n, f"m{n}", 600 * n, "jan@example.nl", "192.0.2.1", None) for n in range(144)]
    calls = [
        one._replace(occurred_at=one.occurred_at - (7200 if n < 6 else 3600) * MICROS) for n, one in enumerate(log)
    ]
    store = Model(calls)
    assert store.reconcile(log).missing == []


def test_one_message_to_many_in_one_second_takes_no_time() -> None:
    log = [event(n, "m", n % 3, f"jan{n}@example.nl", None, None) for n in range(3000)]
    store = Model(one._replace(recipient=None) for one in log[:2900])
    assert len(store.reconcile(log).missing) == 100


def test_what_other_releases_recovered_is_known_again() -> None:
    """Release 0.2 had the number of a link in `url`; the id it made is the same as that of today."""
    line = event(0, "m", 0, "jan@example.nl", "192.0.2.1", "4711")
    today = line._replace(url=None, payload={LINK_ID: "4711"})
    assert partitions.digest_of(line) == partitions.digest_of(today)
    store = Model()
    store.reconcile([line])
    assert (store.reconcile([today]).missing, len(store.events)) == ([], 1)


def test_too_few_pairs_prove_no_offset_and_neither_do_differing_ones() -> None:
    none = (0, frozenset({0}))
    assert clocks(Counter()) == none
    assert clocks(Counter({3600: 2})) == none
    assert clocks(Counter({5: 1, 90: 1, 4000: 1, 0: 1})) == none
    assert clocks(Counter({3600: 3})) == (3600, frozenset({0}))
    assert clocks(Counter({0: 90, **{n * 100: 1 for n in range(1, 11)}})) == none
    assert clocks(Counter({0: 50, 1: 50})) == (0, frozenset({0, 1}))
    assert clocks(Counter({86_400: 50})) == none


def test_a_suspected_click_explains_what_only_the_store_has() -> None:
    clicks = [event(n, "m", n, "jan@example.nl", "192.0.2.1", f"https://example.nl/{n}") for n in range(5)]
    store = Model(clicks)
    verdict = store.reconcile(clicks[:2], suspects=clicks[2:4])
    assert (verdict.in_store, verdict.suspected, verdict.only_in_store) == (2, 2, 1)
    assert Model(clicks[:2]).reconcile(clicks[:2], suspects=clicks[2:4]).missing == []


def test_an_id_from_a_log_file_begins_with_its_time_and_tells_equal_events_apart() -> None:
    one = event(0, "m1", 60, "jan@example.nl", "192.0.2.1", None)
    ids = {partitions.delivery_id(START + 60, partitions.digest_of(one), occurrence) for occurrence in range(3)}
    assert len(ids) == 3
    assert {int.from_bytes(name[:4], "big") for name in ids} == {START + 60}
    assert {len(name) for name in ids} == {12}


#: Of the same few messages, seconds and people: most are pairs, some are there twice, or lack something.
few_events = st.lists(
    st.tuples(
        st.sampled_from((None, "m1", "m2", "m3")),
        st.integers(0, 3),
        st.sampled_from((None, "jan@example.nl", "eva@example.nl")),
        st.sampled_from((None, "192.0.2.1")),
        st.sampled_from((None, "https://example.nl/a")),
    ),
    max_size=16,
)


@given(
    few_events, few_events, st.lists(st.sampled_from(("timed", "untimed", "recovered")), max_size=16), st.data()
)
def test_taking_pairs_out_first_changes_nothing(
    log: list[Any], there: list[Any], fates: list[str], data: st.DataObject
) -> None:
    basis = Basis(
        offset=data.draw(st.sampled_from((0, 0, 1, -3600))),
        recipient=data.draw(st.sampled_from((True, True, False))),
        near=frozenset(data.draw(st.sampled_from(((0,), (0,), (0, 1))))),
    )
    events = [event(number, *what) for number, what in enumerate(log)]
    lines = b"".join(lines_of(events))
    stored = []
    for number, (fate, what) in enumerate(zip([*fates, *["timed"] * len(there)], there, strict=False)):
        one = event(number, *what)._replace(received_at=1)
        one = one._replace(occurred_at=one.occurred_at + basis.offset * MICROS)
        if fate == "untimed":
            one = one._replace(received_at=one.occurred_at)
        elif fate == "recovered" and events:
            line = data.draw(st.sampled_from(events))
            name = partitions.delivery_id(line.occurred_at // MICROS, partitions.digest_of(line), 0)
            one = line._replace(delivery_id=name, source=LOGFILE, received_at=1)
        stored.append(one)
    rows = b"".join(rows_of(list({one.delivery_id: one for one in stored}.values())))
    slowly = matching.match(partitions.lines(lines), partitions.rows(rows), basis, DAY)
    assert matching.compare(lines, rows, basis, DAY) == slowly
