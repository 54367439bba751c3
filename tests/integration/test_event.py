"""`ingest event`: one event with its whole way, or why there is none."""

import json

import pytest
import redis

from ingest.batch import pack
from ingest.copernica.events import LOGFILE, MICROS
from ingest.stream.keys import Keys
from tests.support.builders import NINE, SECOND, delivery_id, event, record
from tests.support.cli import typed
from workers.drain.drain import Drain
from workers.gaps.gap import Cause, Cut, State
from workers.handlers.work_queue import WorkQueue
from workers.operations.event.beside import beside
from workers.operations.event.finding import Where, find, parsed
from workers.operations.event.handing import MOST_ROWS, hand_on, waiting
from workers.operations.event.way import way_of
from workers.records import Quarantined, record_of
from workers.store.store import Store


@pytest.fixture
def environ(database: str) -> dict[str, str]:
    return {"DATABASE_URL": database}


def test_the_way_of_a_call_is_told_from_copernica_to_the_store(
    environ: dict[str, str], store: Store, client: redis.Redis
) -> None:
    client.xadd(Keys().stream, {"b": pack([record(1), record(2)]), "e": "web:host:7"})
    Drain(client, store).run()
    one = record(1).delivery_id.hex()
    done = typed("event", one.upper(), "--json", environ=environ)
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert said["fields"] == {"id": "m1", "type": "open", "time": "1795165964"}
    assert [step["what"] for step in said["way"]] == ["occurred", "signed", "received", "written", "stored"]
    assert said["way"][2]["by"] == "web:host:7"
    assert said["way"][3]["calls"] == 2
    lines = typed("events", "--format", "jsonl", environ=environ).stdout.splitlines()
    assert said["event"] in map(json.loads, lines), "an event looks the same wherever it is JSON"
    shown = typed("event", one, "--no-pager", environ=environ).stdout
    assert "safe in Redis, in batch" in shown
    assert "stored by drain:" in shown


def test_a_recovered_event_is_told_with_its_gap_and_its_late_call(
    environ: dict[str, str], store: Store, client: redis.Redis
) -> None:
    minute = 60 * MICROS
    with store.writing() as connection:
        Cut(NINE - minute, Cause.NO_ENDPOINT, NINE + minute, State.CLOSED, NINE + minute).put(store, connection)
    recovered = event(
        delivery_id=delivery_id(9), message_id="m1", recipient=None, source=LOGFILE, received_at=NINE + 9 * minute
    )
    with store.comparing("open", range(NINE // SECOND, NINE // SECOND + 1)) as comparison:
        store.recover([recovered], comparison, spread=0)
    steps = way_of(store, recovered).steps
    assert [step.what for step in steps] == ["occurred", "missed", "recovered"]
    call = record(1, body=b"type=open&id=m1&time=%d" % (NINE // SECOND))
    client.xadd(Keys().stream, {"b": pack([call]), "e": "web:host:7"})
    Drain(client, store).run()
    found = find(store, call.delivery_id)
    assert (found.where, found.other) == (Where.UPGRADED, recovered.delivery_id)
    (upgraded,) = store.with_ids([recovered.delivery_id])
    steps = way_of(store, upgraded).steps
    assert [step.what for step in steps] == [
        "occurred",
        "missed",
        "recovered",
        "signed",
        "received",
        "written",
        "upgraded",
    ]
    assert steps[-1].call_id == call.delivery_id.hex()
    ended = typed("event", call.delivery_id.hex(), "--no-pager", environ=environ)
    assert f"its event is {recovered.delivery_id.hex()}" in ended.stderr
    assert "no endpoint took calls" in ended.stdout


def test_an_id_of_no_event_ends_with_1_and_says_what_there_is(environ: dict[str, str], store: Store) -> None:
    store.add((), [Quarantined(record(5), "It is\x1b[2J neither.")])
    ended = typed("event", record(5).delivery_id.hex(), environ=environ)
    assert ended.exit_code == 1
    assert "in quarantine: It is\\x1b[2J neither." in ended.stdout
    assert typed("event", "zz", environ=environ).exit_code == 2
    assert find(store, bytes(12), retention_days=1).where is Where.EXPIRED
    assert find(store, bytes(12)).where is Where.NOWHERE
    store.entomb(["jan@example.nl"])
    assert find(store, bytes(12)).where is Where.PERHAPS_ERASED


@pytest.mark.parametrize("text", ["", "0" * 23, "0" * 25, "g" * 24, "\u0660" * 24, " " * 24, "0" * 24 + "\n"])
def test_what_is_no_delivery_id_is_not_taken_for_one(text: str) -> None:
    assert parsed(text) is None


def test_what_waits_behind_more_than_is_looked_through_is_said_to_be_unknown(store: Store) -> None:
    queue = WorkQueue(store)
    with store.writing() as connection:
        for number in range(MOST_ROWS + 20):
            queue.give(connection, "h", [record(number)])
    newest = waiting(store, record(MOST_ROWS + 19).delivery_id)
    assert [one.handler for one in newest.waits] == ["h"]
    assert not waiting(store, record(0).delivery_id).complete


def test_an_event_that_is_gone_is_handed_to_nobody(store: Store) -> None:
    assert hand_on(store, "h", bytes(12)) == 0
    assert waiting(store, bytes(12)).waits == ()


def test_neighbours_are_those_of_the_message_and_of_the_recipient(store: Store) -> None:
    same = [event(number, message_id="m", occurred_at=NINE + number) for number in range(20)]
    others = [event(30, message_id="other"), event(31, message_id="other", recipient="else@example.nl")]
    store.add([*same, *others], hand_on={one.delivery_id: record_of(one) for one in (*same, *others)})
    found = beside(store, same[10])
    assert (found.previous, found.next) == (same[9].delivery_id, same[11].delivery_id)
    times = [line.occurred_at - NINE for line in found.message]
    assert times == sorted(times, reverse=True)
    assert {8, 9, 11, 12} < set(times) < {7, 8, 9, 11, 12, 13}
    assert [line.delivery_id for line in found.recipient] == [others[0].delivery_id]
    first = beside(store, same[0])
    assert first.previous is None
    assert all(line.delivery_id != same[0].delivery_id for line in first.message)
