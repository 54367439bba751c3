"""The oracle of `make chaos` is one that can say no; and a short run of it."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import text

from ingest.batch import Record
from ingest.copernica.events import decode
from ingest.simulation.calls import Simulator
from ingest.simulation.logwriter import LogFolder
from tests.chaos.check import judge
from tests.chaos.faults import DONE
from tests.chaos.load import Journal, proof
from tests.chaos.plan import KINDS, KINDS_APART, MACHINES, plan
from tests.chaos.recovery import compared
from tests.chaos.site import PLACES
from workers.records import Quarantined
from workers.store.store import Store

SEED = 5
FORM = "application/x-www-form-urlencoded"


def add(store: Store, key: int, call: int, shown: str | None = None) -> None:
    """An event under a key of its own."""
    body = b"type=open&call=%d&proof=%b" % (call, (shown or proof(SEED, call)).encode())
    store.add([decode(body, FORM, "/copernica", 1, key.to_bytes(12, "big"))])


def ask(store: Store, statement: str) -> None:
    with store.writing() as connection:
        connection.execute(text(statement))


@pytest.fixture
def journal(store: Store) -> Journal:
    """Nine calls that are stored as they should be; eight of them were acknowledged."""
    journal = Journal(SEED)
    for call in range(1, 10):
        add(store, call, call)
        journal.sent[call] = call / 10
    journal.acknowledged = dict.fromkeys(range(1, 9), 0.5)
    return journal


def test_the_oracle_is_content_when_every_acknowledged_call_is_one_row(database: str, journal: Journal) -> None:
    verdict = judge(database, journal)
    assert verdict.good
    assert (verdict.stored, str(verdict)) == (9, "all is well")


Harm = Callable[[Store], object]
HARMS: dict[str, tuple[Harm, str]] = {
    "an acknowledged call is deleted": (
        lambda store: ask(
            store,
            "DELETE FROM events WHERE delivery_id IN "
            "(SELECT * FROM (SELECT delivery_id FROM events ORDER BY 1 LIMIT 1) AS first)",
        ),
        "1 acknowledged calls are not in the database: 1",
    ),
    "a call is there twice": (lambda store: add(store, 99, 3), "1 calls are there more than once: 3"),
    "a call that was not acknowledged is there twice": (lambda store: add(store, 99, 9), "more than once: 9"),
    "a call was never sent": (lambda store: add(store, 99, 77), "1 rows are of no call that was sent"),
    "a row claims to be a call": (lambda store: add(store, 99, 3, "0" * 24), "of no call that was sent"),
    "a row says nothing of a call": (
        lambda store: store.add([decode(b"type=open", FORM, "/", 1, bytes(12))]),
        "of no call that was sent",
    ),
    "a call is in quarantine": (
        lambda store: store.add((), [Quarantined(Record(bytes(12), 1, b"/", b"", b"x"), "?")]),
        "rows where none should be: {'quarantine': 1}",
    ),
    "a call waits to be verified": (
        lambda store: store.add((), (), [Record(bytes(12), 1, b"/", b"", b"x")]),
        "rows where none should be: {'unverified': 1}",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_the_oracle_says_no_when(harm: str, database: str, store: Store, journal: Journal) -> None:
    do, said = HARMS[harm]
    do(store)
    verdict = judge(database, journal)
    assert not verdict.good
    assert said in str(verdict)
    assert str(verdict).count(";") == 0, "one harm, one finding"


def test_the_oracle_knows_all_that_happened(database: str, store: Store, tmp_path: Path) -> None:
    happened = list(islice(Simulator(SEED, ("open", "click")), 4))
    with LogFolder(tmp_path) as logs:
        for number, call in enumerate(happened):
            logs.event(call.type, call.fields)
            if number:
                store.add([decode(call.body, FORM, "/copernica", 1, number.to_bytes(12, "big"))])
    (missing,) = compared(database, tmp_path)
    assert "1 events are missing" in missing
    for key in (8, 9):
        store.add([decode(happened[0].body, FORM, "/copernica", 1, key.to_bytes(12, "big"))])
    (too_many,) = compared(database, tmp_path)
    assert "1 events are there too often" in too_many


def test_a_plan_is_decided_by_its_seed_and_nothing_else() -> None:
    first, again = ([json.dumps(plan(seed, 60).as_dict()) for seed in range(3)] for _ in range(2))
    assert first == again
    assert len(set(first)) == 3


def test_machines_have_faults_of_their_own_and_none_that_only_one_machine_can_have() -> None:
    plans = [plan(seed, 60, machines=3, database="sqlite" if seed % 2 else "") for seed in range(60)]
    drawn = {(fault.kind, fault.target) for one in plans for fault in one.faults}
    assert drawn >= {(kind.name, target) for kind in KINDS_APART for target in kind.targets}
    assert not {"wire", "fail over", "locked"} & {kind for kind, _ in drawn}
    assert {kind for kind, _ in drawn} <= DONE.keys()
    assert {one.setup.database for one in plans} == {"postgresql", "mysql"}
    assert {one.setup.streams for one in plans} == {len(MACHINES)} == {len(PLACES)}
    placed = [part for parts in PLACES.values() for part in parts]
    assert len(placed) == len(set(placed))


def test_every_kind_of_fault_is_planned_sooner_or_later_and_they_overlap() -> None:
    plans = [plan(seed, 60) for seed in range(60)]
    drawn = {(fault.kind, fault.target) for one in plans for fault in one.faults}
    assert drawn == {(kind.name, target) for kind in KINDS for target in kind.targets}
    for one in plans:
        assert max(fault.ends for fault in one.faults) < 60
        overlapping = [b for a, b in zip(one.faults, one.faults[1:], strict=False) if b.at < a.ends]
        assert len(overlapping) > 3
