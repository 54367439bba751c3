"""Rows by plan: the same as without, for every body; and by plan they are made, where bodies are usual ones."""

import logging
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from typing import Any
from unittest.mock import patch
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rq.timeouts import JobTimeoutException

from ingest.batch import FROM_LOGFILE, Record
from ingest.copernica.bodies import LARGE, parse_form
from ingest.copernica.events import EPOCH, LAST_SECOND, MICROS, EventType
from ingest.copernica.plain_forms import MAX_FIELDS, split
from ingest.simulation.calls import TYPES, Simulator, payload
from tests.support.builders import FORM_BYTES, record
from workers.records import Quarantined, read, record_of
from workers.store import row_plans
from workers.store.row_plans import MAX_CHARACTERS, MAX_REMEMBERED, MAX_SEEN, RowPlans
from workers.store.rows import event_row, stored_time


def without_plans(call: Record) -> Any:
    found = read(call)
    return found if isinstance(found, Quarantined) else event_row(found)


def agreed(plans: RowPlans, call: Record) -> bool:
    """Whether row and event were made by plan; they are those that are made without."""
    row = plans.planned(call)
    if row is None:
        return False
    assert row == without_plans(call)
    event, found = plans.planned_event(call), read(call)
    assert event is not None
    assert not isinstance(found, Quarantined)
    assert event == found
    assert list(event.payload) == list(found.payload)
    assert [type(each) for each in event] == [type(each) for each in found]
    event.tags.append("changed by a handler")
    event.payload.clear()
    assert plans.planned_event(call) == found
    return True


def learned(*bodies: bytes) -> RowPlans:
    """Plans for bodies like these."""
    plans = RowPlans()
    for body in bodies * 2:
        plans.planned(record(1, body=body))
    return plans


PAYLOADS = [payload(kind) for kind in TYPES]
#: The plans for whatever Copernica sends.
KNOWN = learned(*PAYLOADS)


@pytest.mark.parametrize("kind", TYPES)
def test_every_kind_that_copernica_sends_has_a_plan(kind: str) -> None:
    assert agreed(KNOWN, record(1, body=payload(kind)))


def test_nearly_all_of_a_mailing_is_made_by_plan() -> None:
    plans = RowPlans()
    calls = [record(number, body=call.body) for number, call in enumerate(islice(Simulator(7), 1000))]
    assert sum(agreed(plans, call) for call in calls) > 900


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_handed_on_again_is_made_by_plan(kind: str) -> None:
    call = record(1, body=payload(kind))
    found = read(call)
    assert not isinstance(found, Quarantined)
    again = record_of(found)
    assert agreed(learned(again.body), again)
    assert not agreed(KNOWN, again._replace(flags=FROM_LOGFILE))


# --- any body ---

NAMES = (
    "id", "type", "time", "timestamp", "recipient", "ip", "original", "useragent", "referer", "profile",
    "subprofile", "database", "collection", "mailing", "code", "extended", "state", "description", "action",
    "tags", "mime",
)  # fmt: skip
VALUES = (
    "", "0", "7", "007", "-1", "+1", "1_0", "1.0", "٣", " 7", "9" * 18, "9" * 19, "None", "null",
    "\0", "\x1e", "\x1f", "\udcff", "%", "%4", "=", "&", "a=b", "\r\n", "😀", '"\\u0000',
    "1795165964", "01795165964", "4102444800", "20261120", "2026-11-20 09:00:00", "1000000003",
    "jan@example.nl", " jan@example.nl", "<jan@example.nl>", "ZOË <Zoë@exämple.nl>",
)  # fmt: skip
KINDS = (*EventType, "create", "update", "delete", "failed", "Open", " click", "other", "")
names = st.sampled_from(
    [
        *NAMES,
        "tags[]",
        "tags[0]",
        "tags[1]",
        "tags[x]",
        "fields[a]",
        "fields[b][c]",
        "fields[b][d]",
        "a[",
        "a]",
        "a[]",
    ]
)
names |= st.sampled_from(["a[][b]", "a[b]c", "", "{", " a", "\x1f", "a=b", "a&b", "type[]", "type[x]"])
names |= st.sampled_from([f"{name}{end}" for name in NAMES for end in ("[]", "[x]", "[0]")])
values = st.sampled_from(VALUES) | st.text(max_size=6)


def encoded(fields: Iterable[tuple[str, str]], safe: str = "") -> bytes:
    def quoted(text: str) -> str:
        return quote_plus(text, safe, errors="surrogateescape")

    return "&".join(f"{quoted(name)}={quoted(value)}" for name, value in fields).encode()


@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(names, values, values), max_size=8),
    st.integers(0, 8),
    st.sampled_from(["", "[]@:", "="]),
)
def test_a_row_by_plan_is_the_one_without(
    kind: str, fields: list[tuple[str, str, str]], at: int, safe: str
) -> None:
    fields.insert(at, ("type", kind, kind))
    plans = learned(encoded([(name, value) for name, value, _ in fields], safe))
    for number in (1, 2):
        agreed(plans, record(1, body=encoded([(field[0], field[number]) for field in fields], safe)))


@pytest.mark.parametrize(
    "others",
    [
        {"type": "open"},
        {"type": "create", "id": "5fd2"},
        {"type": "update", "id": "7", "subprofile": "1"},
        {"type": "unsubscribe", "time": "1795165964", "profile": "1"},
    ],
)
def test_each_value_is_where_it_would_be_without(others: dict[str, str]) -> None:
    for name in (*NAMES, "tags[]", "fields[a]"):
        plans = learned(urlencode(others | {name: "7"}).encode())
        for value in VALUES:
            agreed(plans, record(1, body=encoded((others | {name: value}).items())))


@given(
    st.sampled_from(PAYLOADS),
    st.floats(0, 1),
    st.integers(0, 12),
    st.sampled_from(
        [b"%", b"%4", b"%%", b"%00", b"%1e", b"%1F", b"%ff", b"=", b"&", b"\n", b"\x1f", b"\x7f", b"\xe9"]
    )
    | st.binary(max_size=3),
)
def test_what_is_nearly_usual_has_the_same_row_as_well(body: bytes, where: float, cut: int, new: bytes) -> None:
    at = int(where * len(body))
    agreed(KNOWN, record(1, body=body[:at] + new + body[at + cut :]))


@pytest.mark.parametrize(
    "new", [b"\n", b"%", b"\r\n", b"&", b"=", b" ", b"{", b"[", b"\xef\xbb\xbf", b"&type=click"]
)
@pytest.mark.parametrize("body", PAYLOADS[:3])
def test_nothing_may_be_added_at_either_end(body: bytes, new: bytes) -> None:
    agreed(KNOWN, record(1, body=body + new))
    agreed(KNOWN, record(1, body=new + body))


@pytest.mark.parametrize(
    ("content_type", "planned"),
    [
        (b"", True),
        (b"application/json", True),
        (FORM_BYTES + b"; charset=utf-8", True),
        (FORM_BYTES + b"; charset=klingon", True),
        (FORM_BYTES + b"; charset=latin1", False),
        (b"text/plain;charset=windows-1252", False),
    ],
)
def test_the_content_type_says_what_can_be_read(content_type: bytes, planned: bool) -> None:
    assert agreed(KNOWN, record(1, body=payload("open"), content_type=content_type)) is planned


@pytest.mark.parametrize("target", [b"/", b"/subprofile?x=1", b"/a\xff\xc3\xa9", b"/%00"])
def test_the_target_is_kept_as_without(target: bytes) -> None:
    assert agreed(KNOWN, record(1, body=payload("open"))._replace(target=target))
    assert agreed(KNOWN, record(1, body=payload("profile-create"))._replace(target=target))


@given(st.integers(0, LAST_SECOND * MICROS))
@example(0)
def test_a_time_is_stored_as_sqlalchemy_stores_it(moment: int) -> None:
    when = EPOCH + timedelta(microseconds=moment)
    assert stored_time(moment) == f"{when:%Y-%m-%d %H:%M:%S.%f}"


# --- what is split ---

signs = st.sampled_from(
    [*"ab===&&+_ .", "%41", "%e2%82%AC", "%C3", "%ff", "%00", "%1e", "%1F", "%1", "%", "%%", "%3D"]
)


@given(
    st.lists(st.tuples(st.text("ab", max_size=2), signs)).map(lambda all_: "".join(map("".join, all_)).encode())
)
@example(b"a=b=c&d")
@example(b"a=b%1fc=d")
@example(b"a=%%3D")
@example(b"a=%3D%")
@example(b"a=b&c")
def test_a_form_is_split_into_what_is_read_in_it(body: bytes) -> None:
    parts = split(body)
    if parts is None:
        return
    assert parse_form(urlencode(list(zip(parts[::2], parts[1::2], strict=True))).encode()) == parse_form(body)


def test_a_form_of_nothing_but_names_and_values_is_split() -> None:
    assert split(b"a=1&b[]=%3D%26&=&c=+%2B") == ["a", "1", "b[]", "=&", "", "", "c", " +"]


@pytest.mark.parametrize(
    "body", [b"", b"a", b"&", b"a=b&c", b"a=1&&b=2", b"a=1=2", b"a=%", b"a=%4x", b"a=%FF", b"a=\0"]
)
def test_other_forms_are_left_alone(body: bytes) -> None:
    assert split(body) is None


def test_large_forms_are_left_to_who_reads_them_piece_by_piece() -> None:
    assert split(b"a=" + b"b" * (LARGE - 2)) is not None
    assert split(b"a=" + b"b" * (LARGE - 1)) is None
    assert split(b"&".join([b"a=b"] * MAX_FIELDS)) is not None
    assert split(b"&".join([b"a=b"] * (MAX_FIELDS + 1))) is None


# --- what is remembered ---


def with_names(number: int, padding: int = 0) -> Record:
    return record(1, body=b"type=open&time=1795165964&%s%d=1" % (b"x" * padding, number))


def test_who_sends_ever_other_names_takes_no_more_memory() -> None:
    plans = RowPlans()
    for number in range(MAX_SEEN + MAX_REMEMBERED):
        for _ in range(1 + (number > MAX_SEEN - 2)):
            plans.planned(with_names(number))
    assert len(plans._known) <= MAX_REMEMBERED
    assert len(plans._seen) <= MAX_SEEN
    for _ in range(3):
        plans.planned(record(1, body=b"type=open&%s=1" % (b"x" * MAX_CHARACTERS)))
        plans.planned(record(1, body=b"type=never_heard_of_%d&a=1" % len(plans._known)))
    assert not any(len("".join(names)) > MAX_CHARACTERS for names in plans._known)
    assert all(plan.plans.keys() <= {"open"} for plan in plans._known.values())
    # … and is served by plan again once the others have stopped.
    assert [agreed(plans, with_names(-1)) for _ in range(3)] == [False, False, True]


# --- faults ---


def test_a_fault_in_a_plan_costs_nothing_but_time(caplog: pytest.LogCaptureFixture) -> None:
    call = record(1, body=payload("open"))
    with caplog.at_level(logging.ERROR), patch.object(row_plans, "split", side_effect=ValueError):
        assert KNOWN.read(call) == without_plans(call)
        assert KNOWN.read_event(call) == read(call)
    assert "could not be made by plan" in caplog.text
    assert "could not be read by plan" in caplog.text


def test_the_time_limit_of_a_job_is_no_fault() -> None:
    with (
        patch.object(row_plans, "split", side_effect=JobTimeoutException),
        pytest.raises(JobTimeoutException),
    ):
        KNOWN.read(record(1, body=payload("open")))
    with (
        patch.object(row_plans, "split", side_effect=JobTimeoutException),
        pytest.raises(JobTimeoutException),
    ):
        KNOWN.read_event(record(1, body=payload("open")))


def test_what_no_plan_can_read_is_read_without() -> None:
    unreadable, as_json = record(1, body=b"hello"), record(2, body=b'{"type": "open", "id": "x"}')
    assert KNOWN.read(unreadable) == KNOWN.read_event(unreadable) == read(unreadable)
    assert KNOWN.read_event(as_json) == read(as_json)
    assert KNOWN.read(as_json) == without_plans(as_json)
