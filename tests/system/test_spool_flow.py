"""The spool as operators meet it: at a start without Redis, in `status`, `check` and `/readyz`."""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest import health
from ingest.endpoint.supervisor import serve
from ingest.errors import SettingsError, Unavailable
from ingest.settings import Settings
from tests.support.cli import findings, status_figures
from tests.support.http import request, status
from tests.support.running import answers, exchange, free_port, ingest, run, running, until
from tests.support.valkey import valkey
from workers.store.schema import upgrade


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    url = f"sqlite:///{tmp_path}/events.db"
    upgrade(url)
    return {
        "DATABASE_URL": url,
        "PORT": str(free_port()),
        "INGEST_VERIFY": "off",
        "INGEST_SPOOL_DIR": str(tmp_path / "spool"),
        "INGEST_SPOOL_MAX": "1TiB",
    }


def ready(port: int) -> dict[str, Any]:
    answer = exchange(port, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return dict(orjson.loads(answer.partition(b"\r\n\r\n")[2]))


def spool_of(environ: dict[str, str]) -> dict[str, Any]:
    """What the first endpoint last reported of its spool; nothing before it did."""
    endpoints = status_figures(environ)[1]["endpoints"]
    return dict(endpoints[0]["spool"]) if endpoints else {}


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
            code, figures = status_figures(environ)
            assert code == 2
            assert (figures["spool"]["events"], figures["stored"], figures["backlog"]) == (3, 0, None)
            assert figures["spool"]["endpoints_open"] == 1
            assert any("3 events are in the spool" in warning["text"] for warning in figures["warnings"])
            web.stop()
        with running(ingest("serve"), environ, tmp_path / "web.log") as web:  # its successor has them
            server.start()
            until(lambda: status_figures(environ)[1]["backlog"] == 3, "the replay")
            empty = {"events": 0, "size_bytes": 0, "oldest_age_seconds": None, "bad_records": 0}
            # A report may be made when all is replayed, and the file is not deleted yet.
            until(lambda: spool_of(environ).items() >= empty.items(), "a report after the replay")
            code, figures = status_figures(environ)
            assert figures["spool"]["endpoints_open"] == 0
            assert (code, [warning["code"] for warning in figures["warnings"]]) == (
                2,
                ["signatures-off", "no-worker"],
            )
            (report,) = figures["endpoints"]
            assert report["breaker"] == "closed"
            assert report["spool"].items() >= empty.items()
            assert 0 < report["spool"]["disk_free_bytes"] <= report["spool"]["disk_size_bytes"]
            assert ready(port)["redis"] == "serves"
            assert "MiB free" in str(ready(port)["risks"])
            assert run("drain", environ=environ).returncode == 0
            assert status_figures(environ)[1]["stored"] == 3
        assert "Traceback" not in web.output


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"INGEST_SPOOL_DIR": "/proc/spool"}, "The spool folder /proc/spool cannot be used"),
        ({"INGEST_SPOOL_DIR": "", "REDIS_URL": "redis://127.0.0.1:1/0"}, "does not answer"),
        # A wrong URL is a mistake, and no outage.
        ({"REDIS_URL": "unix://nobody:secret@{}"}, "check REDIS_URL"),
        ({"REDIS_URL": "unix://{}?db=999"}, "check REDIS_URL"),
    ],
)
def test_why_an_endpoint_cannot_start_is_one_sentence(
    environ: dict[str, str], redis_url: str, changes: dict[str, str], said: str
) -> None:
    environ = {"REDIS_URL": redis_url} | environ | changes
    environ["REDIS_URL"] = environ["REDIS_URL"].format(redis_url.removeprefix("unix://"))
    with pytest.raises(Unavailable) as refused:
        serve(Settings.read(environ))
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


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
    for name, value in (("INGEST_BUFFER_MAX", "-1"), ("INGEST_SPOOL_MAX", "plenty")):
        with pytest.raises(SettingsError, match=f"{name}='{value}' cannot be used"):
            Settings.read({name: value})


def test_check_looks_at_the_spool(environ: dict[str, str], redis_url: str, tmp_path: Path) -> None:
    environ["REDIS_URL"] = redis_url
    code, found = findings(environ | {"INGEST_SPOOL_MAX": "1"})
    assert (code, found["spool"]) == (0, ("ok", f"{tmp_path}/spool holds 0 events"))
    code, found = findings(environ | {"INGEST_SPOOL_DIR": ""})
    assert (code, found["spool"][0]) == (0, "risk")
    code, found = findings(environ | {"INGEST_SPOOL_DIR": "/proc/spool"})
    assert (code, found["spool"][0]) == (1, "wrong")
    code, found = findings(environ)
    assert (code, found["spool"][0]) == (0, "risk")
    assert "free" in found["spool"][1]


def test_the_risks_of_a_redis_are_reported() -> None:
    good = {"redis_version": "7.2.4", "aof_enabled": 1, "maxmemory_policy": "noeviction"}
    good |= {"maxmemory": 1000, "used_memory": 500}
    assert list(health.of_redis(good)) == []
    assert health.version_of(good) == "Redis 7.2.4"
    assert health.version_of(good | {"server_name": "valkey", "valkey_version": "9.1.2"}) == "Valkey 9.1.2"
    for change, word in (
        ({"redis_version": "6.0.16"}, "6.2"),
        ({"aof_enabled": 0}, "appendonly"),
        ({"maxmemory_policy": "allkeys-lru"}, "allkeys-lru"),
        ({"maxmemory": 0}, "no memory limit"),
        ({"used_memory": 900}, "90%"),
    ):
        (risk,) = health.of_redis(good | change)
        assert word in risk.text


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="there is no such filesystem")
def test_a_spool_in_memory_is_a_risk() -> None:
    assert any("memory" in risk.text for risk in health.of_spool(Path("/dev/shm/no/such/folder"), 1))
    assert not any("container" in risk.text for risk in health.of_spool(Path("/dev/shm"), 1))
