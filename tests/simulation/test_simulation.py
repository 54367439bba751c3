"""The simulator beside what was measured: the benchmark on a quiet machine, and outages of the real program."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ingest.capacity.figures import Figures
from tests.simulation import large, page
from tests.simulation.history import History
from tests.simulation.model import simulated
from tests.simulation.parameters import RETRY_MOST, Rate, Setup

#: A whole run of `make bench`, on the machine of the packaged figures.
BENCH = Path(__file__).with_name("benchmark.json")
RUNS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("measured.json").read_text())["runs"]
#: How far a simulated figure may be from the measured one.
NEAR = 0.2


def benched(name: str, beside: str | None) -> float:
    """The median of the first row of this name in what `make bench` kept."""
    rows = json.loads(BENCH.read_text())["rows"]
    row: Mapping[str, Any] = next(row for row in rows if (row["name"], row["baseline"]) == (name, beside))
    return float(row["ours"]["median"])


@pytest.fixture(scope="module")
def figures() -> Figures:
    return Figures.read(BENCH)


@pytest.fixture(scope="module")
def full(figures: Figures) -> History:
    """64 connections, as fast as they are answered, unsigned: as the benchmark measures it."""
    own = replace(figures, endpoint_us=benched("endpoint CPU, µs/call", "bare aiohttp"))
    sender = benched("sender CPU, cores", "bare aiohttp") / benched("calls taken/s", "bare aiohttp")
    return simulated(Setup(figures=own, connections=64, until=4.0, send=sender))


def test_batches_grow_at_full_rate_as_they_were_measured_to(full: History) -> None:
    assert full.per_batch == pytest.approx(benched("events per stream entry", None), rel=NEAR)


def test_calls_are_taken_as_fast_as_they_were_measured_to_be(full: History) -> None:
    assert full.answered / 4.0 == pytest.approx(benched("calls taken/s", "bare aiohttp"), rel=NEAR)


@pytest.mark.parametrize(
    ("postgresql", "name", "beside"),
    [
        (True, "events drained/s into PostgreSQL", "ours into SQLite"),
        (False, "events drained/s", "RQ SimpleWorker"),
    ],
)
def test_a_worker_drains_as_fast_as_it_was_measured_to(
    figures: Figures, postgresql: bool, name: str, beside: str
) -> None:
    at_once = replace(figures, endpoint_us=0.001, append_us=0.001)
    piled = 0.1
    setup = Setup(
        figures=at_once,
        rates=(Rate(since=0.0, per_second=2e6),),
        grain=64 / 2e6,
        until=piled,
        postgresql=postgresql,
        wake=0.0,
        fsync=1e-5,
        every=0.02,
    )
    done = simulated(setup)
    seconds = done.empty_after(piled) + piled
    assert done.stored / seconds == pytest.approx(benched(name, beside), rel=NEAR)


@cache
def outage(name: str) -> History:
    """The same arrivals and the same outage as in a measured run, simulated."""
    run = next(run for run in RUNS if run["case"]["name"] == name)
    arrived = run["arrived"]
    rates = tuple(
        Rate(since=since, per_second=(after - before) / (until - since))
        for (since, before), (until, after) in pairwise(arrived)
    )
    seconds = arrived[-1][0]
    away = (run["case"]["outage"][0], run["returned_s"])
    return simulated(
        Setup(figures=Figures.read(BENCH), rates=rates, until=seconds, outages=(away,), grain=0.005, every=0.05)
    )


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["case"]["name"])
def test_an_outage_leaves_as_many_events_as_it_was_measured_to(run: dict[str, Any]) -> None:
    done = outage(run["case"]["name"])
    assert run["stored"] >= run["events"]  # nothing was lost in the measured run
    assert done.backlog_at(run["returned_s"]) == pytest.approx(run["backlog_then"], rel=NEAR)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["case"]["name"])
def test_what_an_outage_left_is_drained_from_the_next_try_on(run: dict[str, Any]) -> None:
    """Which is a matter of luck within five seconds, of the one as of the other."""
    simulated_s = outage(run["case"]["name"]).fallen(run["returned_s"], 0.9) - run["returned_s"]
    assert simulated_s <= RETRY_MOST + 1
    assert run["waited_s"] <= RETRY_MOST + 1


@pytest.mark.parametrize("memory", [64e9, 1e5])
@pytest.mark.parametrize("outages", [(), ((1.0, 4.0), (5.0, 25.0))])
def test_whatever_happens_all_that_was_answered_is_stored(
    memory: float, outages: tuple[tuple[float, float], ...]
) -> None:
    setup = Setup(
        endpoints=3,
        servers=2,
        workers=2,
        handlers=2,
        handler_workers=1,
        memory=memory,
        outages=outages,
        rates=(Rate(since=0.0, per_second=600.0), Rate(since=2.0, per_second=3000.0)),
        until=6.0,
        grain=0.01,
        sibling_batches=1,
    )
    done = simulated(setup)
    assert done.answered == done.stored > 10_000
    assert done.looks[-1][1:5] == (0, 0.0, 0.0, 0)
    assert (done.most_spooled > 0) == (memory == 1e5 and bool(outages))


def test_the_page_shows_what_the_commands_print() -> None:
    text = page.PAGE.read_text()
    assert len(page.commands(text)) >= 5
    assert page.with_outputs(text) == text, "make capacity"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_shows_the_outage_as_it_is_simulated() -> None:
    history = large.run()
    assert history.most_spooled == 0
    assert history.stored == history.answered == large.RATE * large.ENDS
    text = page.PAGE.read_text()
    assert page.with_table(text, large.table(history)) == text, "make capacity"
    assert large.PICTURE.read_text() == large.picture(history), "make capacity"
