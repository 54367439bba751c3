"""The metrics port of real processes, and a real Prometheus that looks at it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from tests.support.metrics import samples
from tests.support.running import Process, answers, free_port, running, until
from tests.support.site import Site
from tests.support.valkey import Valkey, valkey

ROOT = Path(__file__).parents[2]
PROMTOOL = shutil.which("promtool")
PROMETHEUS = shutil.which("prometheus")
no_promtool = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool (apt-get install prometheus)")


#: Its process.
WEB_1 = re.compile(r"web\.1 is ready \(process (\d+)\)")


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey() as server:
        yield server


@pytest.fixture
def site(server: Valkey, tmp_path: Path) -> Site:
    site = Site(server, tmp_path)
    site.environ["INGEST_METRICS_PORT"] = str(free_port())
    return site


def port(site: Site) -> int:
    return int(site.environ["INGEST_METRICS_PORT"])


def fetch(number: int, path: str = "/metrics", **headers: str) -> str:
    with urlopen(Request(f"http://127.0.0.1:{number}{path}", headers=headers), timeout=10) as answer:
        return str(answer.read().decode())


def shown(number: int) -> dict[str, float]:
    try:
        return samples(fetch(number))
    except (URLError, ConnectionError):
        return {}


def where(process: Process) -> int:
    """The port that a process says it has."""
    said = until(lambda: [line for line in process.output.splitlines() if "metrics at " in line], "its port")
    return int(said[-1].rpartition(":")[2].partition("/")[0])


def wait_for(number: int, series: str, value: float) -> dict[str, float]:
    return until(lambda: (found := shown(number)).get(series, -1) >= value and found, f"{series} {value}") or {}


def stored(number: int) -> float:
    return sum(value for series, value in shown(number).items() if series.startswith("ingest_events_stored_total"))


def test_what_is_counted_outlives_work_horses_and_processes_that_are_killed(site: Site) -> None:
    site.environ["WEB_CONCURRENCY"] = "2"
    web = site.start("serve")
    try:
        until(lambda: answers(site.port), "the endpoint")
        worker = site.start("worker")
        try:
            site.send(50)
            site.wait_for(50)
            kept = 'ingest_calls_total{result="kept"}'
            found = wait_for(where(web), kept, 50)
            assert found['ingest_workers{queue="events"}'] == 1
            assert found["ingest_backlog_events"] == found["ingest_oldest_event_age_seconds"] == 0
            os.kill(int(WEB_1.findall(web.output)[0]), signal.SIGKILL)
            until(lambda: len(WEB_1.findall(web.output)) == 2, "its successor")
            site.send(50)
            site.wait_for(100)
            assert wait_for(where(web), kept, 100)[kept] == 100
            until(lambda: stored(where(worker)) == 100, "a hundred events of all types")
            assert where(worker) > where(web) == port(site)
        finally:
            assert worker.stop() == 0
    finally:
        assert web.stop() == 0
    with pytest.raises(URLError):
        fetch(port(site))


def test_while_redis_is_away_the_port_tells_of_the_spool(server: Valkey, site: Site) -> None:
    with valkey() as other:
        site.environ["REDIS_URL"] = other.url
        web = site.start("serve")
        try:
            until(lambda: answers(site.port), "the endpoint")
            other.kill()
            site.send(20)
            found = wait_for(where(web), "ingest_spool_events", 20)
            assert found["ingest_spool_open_processes"] == 1
            assert found["ingest_spool_bytes"] > 0
            assert found["ingest_redis_up"] == 0
            assert found["ingest_database_up"] == 1
            assert "ingest_backlog_events" not in found
            assert found['ingest_calls_total{result="kept"}'] == 20
            with pytest.raises(HTTPError) as refused:
                fetch(where(web), "/scale")
            with refused.value as answer:
                assert answer.code == 503
        finally:
            web.stop()


def test_a_port_that_others_use_keeps_nothing_from_working(site: Site) -> None:
    with socket.create_server(("127.0.0.1", port(site))):
        web = site.start("serve")
        try:
            until(lambda: answers(site.port), "the endpoint")
            assert where(web) > port(site)
        finally:
            assert web.stop() == 0


@pytest.mark.parametrize("command", ["serve", "worker", "dev"])
@pytest.mark.parametrize(
    ("setting", "value"), [("INGEST_METRICS_HOST", "192.0.2.1"), ("INGEST_METRICS_PORT", "PORT")]
)
def test_a_mistake_is_told_in_one_sentence(site: Site, command: str, setting: str, value: str) -> None:
    if (setting, command) == ("INGEST_METRICS_PORT", "worker"):
        pytest.skip("a worker has no other port")
    site.environ["INGEST_DATA_DIR"] = str(site.folder / "data")
    site.environ[setting] = site.environ["PORT"] if value == "PORT" else value
    process = site.start(command)
    assert process.wait() == 2
    assert process.output.startswith("ingest: ")
    assert process.output.count("\n") == 1
    assert setting in process.output


@no_promtool
def test_promtool_finds_nothing_wrong(site: Site) -> None:
    assert PROMTOOL is not None
    web = site.start("serve")
    try:
        until(lambda: answers(site.port), "the endpoint")
        site.send(10)
        until(lambda: shown(where(web)), "metrics")
        for arguments, given in (
            (["check", "metrics"], fetch(where(web))),
            (["check", "rules", "deploy/prometheus/alerts.yaml"], ""),
            (["check", "config", "deploy/prometheus/prometheus.yml"], ""),
            (["test", "rules", "deploy/prometheus/alerts.test.yaml"], ""),
        ):
            done = subprocess.run(
                [PROMTOOL, *arguments], cwd=ROOT, input=given, capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, ""), done.stdout
    finally:
        web.stop()


@pytest.mark.skipif(PROMETHEUS is None, reason="there is no prometheus (apt-get install prometheus)")
def test_a_real_prometheus_has_every_metric_after_a_look(site: Site, tmp_path: Path) -> None:
    assert PROMETHEUS is not None
    own = free_port()
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "  - job_name: ingest\n"
        "    authorization: {credentials: t0ken}\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{port(site)}']}}]\n"
    )
    argv = [PROMETHEUS, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb"]
    site.environ["INGEST_METRICS_TOKEN"] = "t0ken"
    web = site.start("serve")
    try:
        until(lambda: answers(site.port), "the endpoint")
        site.send(10)
        with running([*argv, f"--web.listen-address=127.0.0.1:{own}"], {}, tmp_path / "prometheus.log"):

            def value(query: str) -> float:
                try:
                    said = json.loads(fetch(own, "/api/v1/query?" + urlencode({"query": query})))
                except (URLError, ConnectionError):
                    return -1.0
                found = said["data"]["result"]
                return float(found[0]["value"][1]) if found else -1.0

            until(lambda: value('sum(ingest_calls_total{result="kept"})') == 10, "ten calls")
            assert value("up") == 1
            assert value("max(ingest_redis_up)") == 1
            assert value("histogram_quantile(0.99, sum by (le) (ingest_ack_seconds_bucket))") > 0
            assert abs(value("ingest_last_call_timestamp_seconds") - time.time()) < 120
    finally:
        web.stop()
