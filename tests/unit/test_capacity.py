"""The arithmetic of `ingest plan`, and what people may type."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ingest.capacity import amounts
from ingest.capacity.demand import Demand
from ingest.capacity.figures import PACKAGED, SINCE, Figures
from ingest.capacity.planning import plan
from ingest.cli.main import main
from ingest.cli.render.plan import lines
from ingest.errors import SettingsError

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "tests" / "benchmarks" / "results.json"


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("5000", 5000), ("100k", 100_000), ("100k/s", 100_000), ("2.5M", 2.5e6), ("100,000/s", 100_000),
        ("86400/day", 1), ("1e5", 1e5), (" 10 K per second ", 10_000), ("60/min", 1),
    ],
)  # fmt: skip  # a list to be read across
def test_a_rate_is_read_as_people_type_it(typed: str, value: float) -> None:
    assert amounts.rate(typed) == pytest.approx(value)


@pytest.mark.parametrize(
    "typed",
    [
        "", "0", "0.0", "-1", "abc", "1e99", "1e999", "nan", "inf", "100.000", "10000001", "5 events", "1k/year",
        "٣", "1_0",
    ],
)  # fmt: skip  # a list to be read across
def test_what_is_no_rate_gets_one_sentence(typed: str) -> None:
    said = CliRunner().invoke(main, ["plan", f"--rate={typed}"])
    assert said.exit_code == 2
    assert len([line for line in said.output.splitlines() if line.startswith("Error:")]) == 1
    assert "Traceback" not in said.output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--outage", "-1h"], "less than nothing"),
        (["--outage", "400d"], "more than 31 days"),
        (["--outage", "1e9"], "no span of time"),
        (["--outage", "30d", "--disk", "50GB"], "more than a disk of 50 GB holds"),
        (["--disk", "0"], "not between a byte"),
        (["--memory", "lots"], "no size"),
        (["--database", "sqlite", "--rate", "100k"], "one writer at a time"),
        (["--database", "oracle"], "is none of"),
        (["--handlers", "-1"], "range"),
        (["--figures", "nowhere.json"], "cannot be read"),
        (["--figures", str(ROOT)], "cannot be read"),
        (["--figures", str(ROOT / "README.md")], "is no JSON"),
        (["--figures", str(BENCH), "--measure"], "Choose one of"),
    ],
)
def test_what_cannot_be_planned_gets_one_sentence(options: list[str], sentence: str) -> None:
    said = CliRunner().invoke(main, ["plan", "--rate", "1000", *options])
    assert said.exit_code == 2, said.output
    assert sentence in said.output.replace("\n", " ")


@pytest.mark.parametrize("rate", [1 / 86400, 1, 64, 1000, 12_345, 100_000, 1e6, 1e7])
@pytest.mark.parametrize("outage", [0, 60, 3600, 7 * 86400])
def test_what_is_planned_carries_what_it_was_planned_for(rate: float, outage: float) -> None:
    made = plan(Demand(rate=rate, outage=outage), PACKAGED)
    assert all(limit.factor >= 1 for limit in made.limits), made.limits
    assert list(made.limits) == sorted(made.limits, key=lambda limit: limit.factor)
    values = {part.name: part.values for part in made.parts}
    assert values["endpoint"]["processes"] * 1e6 / PACKAGED.endpoint_us >= rate
    assert values["Redis"]["memory_bytes"] * 0.6 >= rate * outage * PACKAGED.stream_bytes
    assert values["workers"]["catch_up_seconds"] <= outage


def test_every_sum_that_is_shown_is_right() -> None:
    shown = "\n".join(lines(plan(Demand(rate=100_000), PACKAGED), width=1000))
    sums = re.findall(r"([\d.,]+)(?:/s)? x ([\d.,]+) µs = ([\d.,]+) processors", shown)
    assert len(sums) >= 2
    for first, second, result in sums:
        assert float(first.replace(",", "")) * float(second) / 1e6 == pytest.approx(float(result), rel=0.01)


@pytest.mark.parametrize("database", ["postgresql", "mariadb"])
def test_more_of_everything_never_takes_less(database: str) -> None:
    before: dict[str, float] = {}
    for rate in (1, 10, 1e3, 1e4, 3e4, 1e5, 1e6, 1e7):
        parts = plan(Demand(rate=rate, database=database), PACKAGED).parts
        now = {f"{part.name} {name}": value for part in parts for name, value in part.values.items()}
        assert all(value >= before.get(name, 0) for name, value in now.items() if "catch_up" not in name)
        before = now


def test_figures_come_back_from_what_json_prints(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["plan", "--rate", "100k", "--json"])
    (tmp_path / "mine.json").write_text(made.output)
    assert Figures.read(tmp_path / "mine.json") == PACKAGED


def test_a_file_from_before_mariadb_was_planned_for_is_still_of_use() -> None:
    older = {name: value for name, value in PACKAGED.as_json().items() if name not in SINCE}
    assert Figures.of(older | {"endpoint_us": 99.0}, "mine.json") == replace(PACKAGED, endpoint_us=99.0)


def test_a_plan_for_mariadb_reckons_with_its_own_figures() -> None:
    made = plan(Demand(rate=10_000, database="mariadb"), PACKAGED)
    (store,) = (part for part in made.parts if part.name == "database")
    assert store.needs.startswith("MariaDB, 1 server")
    assert store.values["processors"] == pytest.approx(20_000 * PACKAGED.mariadb_server_us / 1e6)
    assert store.values["disk_bytes_per_day"] == pytest.approx(864e6 * PACKAGED.mariadb_bytes)


def test_figures_come_from_what_the_benchmark_writes() -> None:
    rows = json.loads(BENCH.read_text())["rows"]
    full = next(row for row in rows if row["name"] == "CPU at full rate, µs/call")
    assert Figures.read(BENCH).endpoint_us == full["ours"]["median"]


@pytest.mark.parametrize("wrong", ["x", None, True, -1, 0, 1e99, [], {"a": 1}])
def test_a_figure_that_cannot_be_right_is_refused(wrong: object) -> None:
    with pytest.raises(SettingsError, match="endpoint_us"):
        Figures.of(PACKAGED.as_json() | {"endpoint_us": wrong}, "mine.json")


@pytest.mark.parametrize("wrong", [[], 1, None, {}, {"figures": {}}, {"rows": [1]}, {"rows": [{}]}])
def test_what_holds_no_figures_is_refused(wrong: object) -> None:
    with pytest.raises(SettingsError, match=r"mine\.json"):
        Figures.of(wrong, "mine.json")
