"""The spool as operators meet it: at a start without Redis, in `status`, `check` and `/readyz`."""

import json
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest import risks
from ingest.errors import SettingsError
from ingest.settings import Settings
from tests.running import answers, exchange, free_port, ingest, run, running, until
from tests.test_cli import findings, typed
from tests.test_endpoint import request, status
from tests.valkey import valkey
from workers.store import upgrade


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    url = f"sqlite:///{tmp_path}/events.db"
    upgrade(url)
    return {
        "DATABASE_URL": url,
        "PORT": str(free_port()),
        "INGEST_VERIFY": "off",
        "INGEST_SPOOL_DIR": str(tmp_path / "spool"),
    }


def ready(port: int) -> dict[str, Any]:
    answer = exchange(port, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return dict(orjson.loads(answer.partition(b"\r\n\r\n")[2]))


def shown(environ: dict[str, str]) -> tuple[int, dict[str, Any]]:
    done = typed("status", "--json", environ=environ)
    return done.exit_code, json.loads(done.stdout)


def test_an_endpoint_starts_without_redis_keeps_calls_and_stores_them_when_redis_comes(
    environ: dict[str, str], tmp_path: Path
) -> None:
    port = int(environ["PORT"])
    with valkey() as server:
        environ["REDIS_URL"] = server.url
        server.kill()
        with running(ingest("serve"), environ, tmp_path / "web.log") as web:
            until(lambda: answers(port), "the endpoint")
            assert "calls go to the spool in" in web.output
            assert [status(exchange(port, request(b"a=%d" % n))) for n in range(3)] == [200] * 3
            state = ready(port)
            assert (state["status"], state["redis"], state["spool"]) == ("ready", "away", "takes")
            assert state["breaker"] in ("open", "half-open")
            code, figures = shown(environ)
            assert code == 1
            assert (figures["spool"]["events"], figures["stored"], figures["backlog"]) == (3, 0, None)
            assert any("3 events are in the spool" in warning for warning in figures["warnings"])
            web.stop()
        with running(ingest("serve"), environ, tmp_path / "web.log") as web:  # its successor has them
            server.start()
            until(lambda: shown(environ)[1]["backlog"] == 3, "the replay")
            until(lambda: shown(environ)[1]["endpoints"], "a report")
            code, figures = shown(environ)
            assert (code, figures["spool"]["events"], figures["spool"]["endpoints_open"]) == (0, 0, 0)
            assert ready(port)["redis"] == "serves"
            assert run("drain", environ=environ).returncode == 0
            assert shown(environ)[1]["stored"] == 3
        assert "Traceback" not in web.output


def test_endpoints_report_their_spool_and_what_can_cost_calls(
    environ: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    environ["REDIS_URL"] = redis_url
    with running(ingest("serve"), environ | {"INGEST_SPOOL_MAX": str(2**60)}, tmp_path / "web.log"):
        until(lambda: answers(int(environ["PORT"])), "the endpoint")
        until(lambda: "MiB free" in str(ready(int(environ["PORT"]))["risks"]), "a risk")
        until(lambda: shown(environ)[1]["endpoints"], "a report")
        (report,) = shown(environ)[1]["endpoints"]
        assert (report["breaker"], report["spooled"], report["spool_bytes"]) == ("closed", 0, 0)
        assert (report["spool_oldest"], report["spool_bad"]) == (None, 0)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"INGEST_SPOOL_DIR": "/proc/spool"}, 1, "The spool folder /proc/spool cannot be used"),
        ({"INGEST_SPOOL_DIR": "", "REDIS_URL": "redis://127.0.0.1:1/0"}, 1, "does not answer"),
        ({"INGEST_SPOOL_MAX": "plenty"}, 2, "INGEST_SPOOL_MAX='plenty' cannot be used"),
    ],
)
def test_what_an_endpoint_cannot_start_with_is_said_in_a_sentence(
    environ: dict[str, str], redis_url: str, changes: dict[str, str], code: int, said: str
) -> None:
    done = run("serve", environ=environ | {"REDIS_URL": redis_url} | changes)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert said in done.stderr


@pytest.mark.parametrize("wrong", ["unix://nobody:wrong@{}", "unix://{}?db=999"])
def test_a_wrong_url_is_a_mistake_and_no_outage(environ: dict[str, str], redis_url: str, wrong: str) -> None:
    url = wrong.format(redis_url.removeprefix("unix://"))
    done = run("serve", environ=environ | {"REDIS_URL": url})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "check REDIS_URL" in done.stderr
    assert "wrong" not in done.stderr.replace("WRONGPASS", "")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Path("data/spool")),
        ({"INGEST_DATA_DIR": "/x"}, Path("/x/spool")),
        ({"INGEST_SPOOL_DIR": "/y"}, Path("/y")),
        ({"INGEST_SPOOL_DIR": ""}, None),
        ({"INGEST_SPOOL_DIR": "Off"}, None),
    ],
)
def test_the_spool_is_in_the_data_folder_unless_it_is_named_or_turned_off(
    environ: dict[str, str], expected: Path | None
) -> None:
    assert Settings.read(environ).spool_dir == expected


def test_sizes_may_be_written_with_their_unit() -> None:
    settings = Settings.read({"INGEST_SPOOL_MAX": "2GiB", "INGEST_BUFFER_MAX": "1000"})
    assert (settings.spool_max, settings.buffer_max) == (2 * 1024**3, 1000)
    with pytest.raises(SettingsError, match="INGEST_BUFFER_MAX"):
        Settings.read({"INGEST_BUFFER_MAX": "-1"})


def test_check_looks_at_the_spool(environ: dict[str, str], redis_url: str, tmp_path: Path) -> None:
    environ["REDIS_URL"] = redis_url
    code, found = findings(environ)
    assert (code, found["spool"]) == (0, ("ok", f"{tmp_path}/spool holds 0 events"))
    code, found = findings(environ | {"INGEST_SPOOL_DIR": ""})
    assert (code, found["spool"][0]) == (0, "risk")
    code, found = findings(environ | {"INGEST_SPOOL_DIR": "/proc/spool"})
    assert (code, found["spool"][0]) == (1, "wrong")
    code, found = findings(environ | {"INGEST_SPOOL_MAX": str(2**60)})
    assert (code, found["spool"][0]) == (0, "risk")
    assert "free" in found["spool"][1]


def test_what_can_be_told_of_a_redis_is_told() -> None:
    good = {"redis_version": "7.2.4", "aof_enabled": 1, "maxmemory_policy": "noeviction"}
    good |= {"maxmemory": 1000, "used_memory": 500}
    assert list(risks.of_redis(good)) == []
    for change, word in (
        ({"redis_version": "6.0.16"}, "6.2"),
        ({"aof_enabled": 0}, "appendonly"),
        ({"maxmemory_policy": "allkeys-lru"}, "allkeys-lru"),
        ({"maxmemory": 0}, "no memory limit"),
        ({"used_memory": 900}, "90%"),
    ):
        (risk,) = risks.of_redis(good | change)
        assert word in risk


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="there is no such filesystem")
def test_a_spool_in_memory_is_a_risk() -> None:
    assert any("memory" in risk for risk in risks.of_spool(Path("/dev/shm/no/such/folder"), 1))
    assert not any("container" in risk for risk in risks.of_spool(Path("/dev/shm"), 1))
