"""Metrics: how they are counted and left for the exporter, and that page, alerts and dashboard name no others."""

import json
import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest

from ingest.errors import Reason, Unavailable
from ingest.metrics.board import HALF, Board
from ingest.metrics.catalogue import BY_NAME, CATALOGUE, Kind
from ingest.metrics.exposition import families, registry_of
from ingest.metrics.figures import Figures, total
from ingest.metrics.histogram import BOUNDS, Histogram
from ingest.settings import Settings
from tests.support.metrics import names, samples, tables
from tests.support.runbook import sections

ROOT = Path(__file__).parents[2]
MOMENTS = st.lists(st.integers(0, 120_000_000), max_size=30)


@given(moments=MOMENTS, now=st.integers(0, 130_000_000))
def test_many_durations_at_once_count_as_one_after_the_other(moments: list[int], now: int) -> None:
    at_once, one_by_one = Histogram(), Histogram()
    at_once.observe_since(moments, now)
    for moment in moments:
        one_by_one.observe(max(0, now - moment) / 1e6)
    assert at_once.counts == one_by_one.counts
    assert at_once.total == pytest.approx(one_by_one.total)


def test_a_duration_that_is_a_bound_is_within_it() -> None:
    one = Histogram()
    for bound in BOUNDS:
        one.observe(bound)
    one.observe(BOUNDS[-1] * 2)
    assert [number for _, number in one.cumulative()] == list(range(1, len(BOUNDS) + 2))


def counted(calls: int, pid: int = 7) -> Figures:
    figures = Figures(pid=pid, at=1.5, gauges={("ingest_spool_bytes",): 10.0, ("ingest_spool_limit_bytes",): 99.0})
    figures.count("ingest_calls_total", "kept", by=calls)
    figures.timing("ingest_ack_seconds").observe(0.2)
    return figures


def test_figures_read_back_as_they_were_left() -> None:
    left, read = counted(3), Figures.from_json(counted(3).as_json())
    assert (read.counts, read.gauges, read.pid, read.at) == (left.counts, left.gauges, left.pid, left.at)
    assert read.timings.keys() == left.timings.keys()
    assert read.timing("ingest_ack_seconds").counts == left.timing("ingest_ack_seconds").counts
    assert Figures.from_json(None).counts == {}


def test_what_processes_have_is_added_up_but_not_their_limits() -> None:
    parts = [counted(3), counted(4)]
    together = total(parts)
    for part in parts:
        together.add_gauges(part)
    assert together.counts == {("ingest_calls_total", "kept"): 7}
    assert sum(together.timing("ingest_ack_seconds").counts) == 2
    assert together.gauges == {("ingest_spool_bytes",): 20.0, ("ingest_spool_limit_bytes",): 99.0}


@pytest.fixture
def board() -> Board:
    return Board.create(2)


def test_a_slot_holds_what_was_last_left_in_it(board: Board) -> None:
    assert board.read(0) is None
    for content in (b"one", b"two, which is longer", b"3"):
        board.write(0, content)
        assert (board.read(0), board.read(1)) == (content, None)
    board.close()


def test_half_a_write_leaves_what_was_there_before(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.write(0, b"whole")
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, content, at: write(fd, content[:-2], at))
    for _ in range(3):  # whoever comes next is killed as well
        board.write(0, b"never whole")
        assert board.read(0) == b"whole"
    board.close()


def test_without_memory_of_that_kind_a_board_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refused)
    board = Board.create(1)
    board.write(0, b"there")
    assert board.read(0) == b"there"
    board.close()
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(Unavailable, match="INGEST_METRICS_PORT=off"):
        Board.create(1)


def test_what_cannot_be_left_in_a_slot_is_said_and_what_was_there_stays(
    board: Board, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    board.write(0, b"before")
    for _ in range(3):
        board.write(0, b"x" * HALF)
    assert [record.getMessage().partition("262,128")[1] for record in caplog.records] == ["262,128"]
    other = Board(board.fd)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for _ in range(3):
        other.write(0, b"after")
    assert [record.args for record in caplog.records[1:]] == [("No space left on device",)]
    assert (board.read(0), board.read(1)) == (b"before", None)
    board.close()


def test_figures_are_shown_as_prometheus_reads_them() -> None:
    shown = samples(generate_latest(registry_of(families(counted(3)))).decode())
    assert shown['ingest_calls_total{result="kept"}'] == 3
    assert shown["ingest_ack_seconds_count"] == 1
    assert shown['ingest_ack_seconds_bucket{le="0.1"}'] == 0
    assert shown['ingest_ack_seconds_bucket{le="0.25"}'] == 1


def test_what_another_release_left_is_passed_over() -> None:
    figures = Figures()
    figures.count("ingest_calls_total")
    figures.count("ingest_of_another_release_total", "x")
    assert list(families(figures)) == []


def test_names_follow_the_conventions_of_prometheus() -> None:
    assert len(BY_NAME) == len(CATALOGUE)
    for metric in CATALOGUE:
        assert re.fullmatch(r"ingest(_[a-z]+)+", metric.name)
        assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
        assert metric.kind is not Kind.HISTOGRAM or metric.name.endswith("_seconds")
        assert metric.help.endswith((".", ")."))
        assert not {"le", "quantile", "job", "instance"} & set(metric.labels)


def test_every_reason_for_which_calls_are_rejected_is_one_of_few() -> None:
    assert all(re.fullmatch(r"[a-z-]+", reason) for reason in Reason)


def test_the_page_lists_every_metric() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    listed = page.partition("<!-- metrics: begin -->\n")[2].partition("\n<!-- metrics: end -->")[0]
    assert listed == tables()


def used(text: str) -> set[str]:
    return set(re.findall(r"\bingest_[a-z_]+\b", text))


def test_alerts_use_no_metric_that_does_not_exist() -> None:
    folder = ROOT / "deploy" / "prometheus"
    rules = (folder / "alerts.yaml").read_text()
    expressions = "".join(re.findall(r"expr: (?:>-\n(?: {10}.*\n)+|.*\n)", rules))
    assert len(used(expressions)) > 15
    assert used(expressions) <= names()
    assert used((folder / "alerts.test.yaml").read_text()) <= names()


def test_every_alert_is_tested_and_says_what_to_do() -> None:
    folder = ROOT / "deploy" / "prometheus"
    rules = (folder / "alerts.yaml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert len(alerts) > 15
    assert rules.count("summary: ") == rules.count("action: ") == len(alerts)
    assert set(re.findall(r"name: (Ingest\w+)", (folder / "alerts.test.yaml").read_text())) == set(alerts)


def test_every_alert_leads_to_the_section_of_the_runbook_that_names_it() -> None:
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text()
    led = re.findall(
        r"- alert: (\w+)(?:\n(?!\s+- alert).*)*?\n\s+runbook: docs/runbook\.md#([a-z-]+)$", rules, re.M
    )
    assert len(led) == rules.count("- alert: ")
    assert [name for name, code in led if f"`{name}`" not in sections()[code]] == []


def test_the_dashboard_uses_no_metric_that_does_not_exist() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    shown = {name for panel in panels for target in panel["targets"] for name in used(target["expr"])}
    assert shown <= names()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    # Of each kind of thing at least one: nothing is counted that nobody looks at.
    assert len(shown) > 25


@pytest.mark.parametrize(("value", "port"), [("", None), ("off", None), ("Off ", None), ("9464", 9464)])
def test_the_port_is_off_unless_it_is_set(value: str, port: int | None) -> None:
    assert Settings.read({"INGEST_METRICS_PORT": value}).metrics_port == port
