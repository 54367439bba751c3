"""Stored events handed to a handler again: all of them, once, also when it is broken off."""

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from ingest.batch import Record
from ingest.cli.main import main
from ingest.copernica.events import Event
from ingest.simulation.calls import TYPES, Simulator
from tests.support.builders import FORM_BYTES, RECEIVED, decoded, handler, numbers, record, refused_body
from workers.handlers import configured
from workers.handlers.jobs import handle_job
from workers.handlers.replay import begun, forget, name_of, replay
from workers.handlers.work_queue import WorkQueue
from workers.records import read, record_of
from workers.store.filters import Filter
from workers.store.store import Store

pytestmark = pytest.mark.slow

JSON = b"application/json"
OPENS = Filter(types=("open",))


def quiet(_: int) -> None: ...


def taken(store: Store, name: str = "h") -> list[Event]:
    """Everything that waits for a handler, in the order in which it is claimed."""
    handoffs, found = WorkQueue(store), []
    while claim := handoffs.claim(handler(name), 500, 1):
        found += claim.records
        handoffs.settle(handler(name), claim, [], release=True)
    return [decoded(call) for call in found]


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with 120 opens and 60 clicks."""
    store.add([decoded(record(n, "click" if n % 3 == 0 else "open")) for n in range(180)])
    return store


@pytest.fixture
def portion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.handlers.replay.PORTION", 25)


@pytest.mark.usefixtures("portion")
def test_all_events_of_a_filter_are_handed_over_once_and_in_order(filled: Store) -> None:
    told: list[int] = []
    assert replay(filled, "h", OPENS, None, told.append) == 120
    assert taken(filled) == list(filled.find(OPENS))
    assert told == [25, 25, 25, 25, 20]
    assert begun(filled, name_of("h", OPENS)) == 0
    assert replay(filled, "h", OPENS, None, quiet) == 120  # again, since the first was done


def test_a_filter_that_nothing_fits_hands_over_nothing(filled: Store) -> None:
    assert replay(filled, "h", Filter(recipient="nobody@example.nl"), None, quiet) == 0
    assert taken(filled) == []


def break_off(after: int) -> Callable[[int], None]:
    told = itertools.count(1)

    def step(_: int) -> None:
        if next(told) == after:
            raise KeyboardInterrupt

    return step


@pytest.mark.usefixtures("portion")
def test_broken_off_and_begun_again_each_event_is_handed_over_once(filled: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        replay(filled, "h", OPENS, None, break_off(2))
    assert begun(filled, name_of("h", OPENS)) == 50
    with pytest.raises(KeyboardInterrupt):
        replay(filled, "h", OPENS, None, break_off(1))
    assert replay(filled, "other", OPENS, None, quiet) == 120  # which is another replay
    assert replay(filled, "h", OPENS, None, quiet) == 45
    assert taken(filled) == list(filled.find(OPENS))


@pytest.mark.usefixtures("portion")
def test_a_replay_that_is_forgotten_starts_over(filled: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        replay(filled, "h", OPENS, None, break_off(2))
    forget(filled, name_of("h", OPENS))
    assert replay(filled, "h", OPENS, None, quiet) == 120
    assert len(taken(filled)) == 170


def test_a_rate_is_kept(filled: Store) -> None:
    began = time.monotonic()
    assert replay(filled, "h", OPENS, 200.0, quiet) == 120
    assert time.monotonic() - began > 0.4


# --- calls, written again ---


def same_again(body: bytes, content_type: bytes = FORM_BYTES, path: bytes = b"/copernica") -> None:
    first = read(Record(b"\1" * 12, RECEIVED, path, content_type, body))
    if isinstance(first, Event):
        assert read(record_of(first)) == first


@pytest.mark.parametrize("kind", TYPES)
def test_simulated_calls_of_all_types_are_the_same_again(kind: str) -> None:
    calls = Simulator(seed=4, types=[kind])
    for _ in range(20):
        call = calls.call()
        same_again(call.body, call.content_type.encode())


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"type=new-thing&x=%FF&y=1&y=2", FORM_BYTES),
        (b"type=open&recipient=%E9", FORM_BYTES + b"; charset=iso-8859-1"),
        (b"type=open&x=%00", FORM_BYTES),
        (b"a=", FORM_BYTES),
        (b'{"type":"open","a[b]":"1"}', JSON),
        (b'{"type":"open","a":{"0":"x"}}', JSON),
        (b'{"type":"open","a":{"b]":"1"}}', JSON),
        (b'{"type":"open","a":{"":"1"}}', JSON),
        (b'{"type":"open","a":[],"b":{},"c":1.5,"d":null,"e":12345678901234567890123}', JSON),
        (b'{"type":"click","tags":["a","b"],"time":1795165964}', JSON),
    ],
)
def test_odd_calls_are_written_again_as_they_were(body: bytes, content_type: bytes) -> None:
    same_again(body, content_type)


NAMES = st.text("ab01[]. =&{", max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
STRINGS = st.recursive(
    st.text("ab{[", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
KNOWN = st.sampled_from(["type", "id", "time", "tags", "profile", "recipient", "action"])


@given(st.dictionaries(NAMES | KNOWN, VALUES | STRINGS, max_size=5))
def test_any_json_is_the_same_again(fields: dict[str, Any]) -> None:
    same_again(json.dumps(fields).encode(), JSON)


PAIR = st.tuples(NAMES | KNOWN, st.text("ab1%+[]\u00e9", max_size=4))


@given(st.lists(PAIR, max_size=6), st.sampled_from([b"/copernica", b"/copernica/open?x=1", b"/\xff"]))
def test_any_form_is_the_same_again(pairs: list[tuple[str, str]], path: bytes) -> None:
    same_again("&".join(f"{name}={value}" for name, value in pairs).encode(), path=path)


def test_stored_events_are_the_same_again(store: Store) -> None:
    calls = Simulator(seed=5)
    records = [
        Record(n.to_bytes(12, "big"), RECEIVED, b"/copernica", FORM_BYTES, calls.call().body) for n in range(300)
    ]
    odd = [record(300, body=b"type=open&x=%FF"), record(301, body=b"x=1&x=2"), record(302, body=refused_body(1))]
    store.add([decoded(call) for call in (*records, *odd)])
    assert [read(record_of(found)) for found in store.find(Filter())] == [
        decoded(call) for call in (*records, *odd)
    ]


# --- the command ---


@pytest.fixture
def typed(database: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    (tmp_path / "replayed_to.py").write_text(
        "from workers import on\n"
        "@on('open', 'click', name='h')\ndef f(e): ...\n"
        "@on('click', name='some', where=lambda event: event.message_id == 'm3')\ndef g(e): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    environ = {"DATABASE_URL": database, "REDIS_URL": redis_url, "INGEST_HANDLERS": "replayed_to"}
    return lambda *words: CliRunner().invoke(main, ["replay", *words], env=environ)


@pytest.mark.usefixtures("portion")
def test_the_command_goes_on_where_it_was_broken_off(
    filled: Store, typed: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("rich.progress.Progress.advance", lambda *_: break_off(1)(0))
        broken = typed("--handler", "h", "--type", "open")
    assert (broken.exit_code, broken.stdout) == (130, "")
    assert "the same command continues from here" in broken.stderr
    done = typed("--handler", "h", "--type", "open")
    assert (done.exit_code, done.stdout) == (0, "95 events handed to h, after 25 before.\n")
    assert taken(filled) == list(filled.find(OPENS))


@pytest.mark.usefixtures("portion")
def test_the_command_starts_over_when_told_to(filled: Store, typed: Callable[..., Result]) -> None:
    with pytest.raises(KeyboardInterrupt):
        replay(filled, "h", Filter(), None, break_off(1))
    done = typed("--handler", "h", "--anew")
    assert (done.exit_code, done.stdout) == (0, "180 events handed to h.\n")
    assert numbers([record_of(one) for one in taken(filled)]) == [*range(25), *range(180)]


def test_an_unknown_handler_is_one_sentence(store: Store, typed: Callable[..., Result]) -> None:
    refused = typed("--handler", "nobody")
    assert (refused.exit_code, refused.stderr) == (2, "ingest: --handler 'nobody': there are h, some.\n")


@pytest.mark.parametrize(
    ("words", "handed", "said"),
    [
        ((), ["open", "click"], ""),
        (("--type", "open,delivery"), ["open"], "h does not take delivery: left out."),
        (("--type", "delivery", "--force-types"), ["delivery"], ""),
        (("--force-types",), ["open", "click", "delivery"], ""),
    ],
)
def test_a_handler_is_handed_only_the_types_that_it_takes(
    store: Store, typed: Callable[..., Result], words: tuple[str, ...], handed: list[str], said: str
) -> None:
    store.add([decoded(record(n, kind)) for n, kind in enumerate(["open", "click", "delivery"])])
    done = typed("--handler", "h", *words)
    events = "1 event" if len(handed) == 1 else f"{len(handed)} events"
    assert (done.exit_code, done.stdout) == (0, f"{events} handed to h.\n")
    assert done.stderr.strip() == said
    assert [one.type for one in taken(store)] == handed


def test_types_that_a_handler_does_not_take_are_one_sentence(filled: Store, typed: Callable[..., Result]) -> None:
    refused = typed("--handler", "h", "--type", "delivery")
    assert refused.exit_code == 2
    assert refused.stderr == (
        "ingest: --type: h takes click, open, not delivery; add --force-types to hand it these all the same.\n"
    )
    assert taken(filled) == []


def test_what_is_replayed_passes_the_handlers_own_filter(
    filled: Store, typed: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, database: str, redis_url: str
) -> None:
    assert typed("--handler", "some").stdout == "60 events handed to some.\n"
    for name, value in {
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
        "INGEST_HANDLERS": "replayed_to",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(configured, "_known", {})
    assert handle_job("some") == {"done": 1, "unwanted": 59, "failed": 0}
