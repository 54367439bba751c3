"""`ingest all`, as an operator runs it on one machine."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.settings import KEYS_FILE, SIGNER_FILE
from ingest.simulation.signer import Signer
from tests.support.cli import typed
from tests.support.dnsserver import DnsServer
from tests.support.running import (
    answers,
    clean_environ,
    descendants,
    exists,
    free_port,
    ingest,
    run,
    running,
    until,
)

#: Seconds for all parts to start: six processes, one after the other.
PATIENCE = 90.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder in which `ingest dev` has left its key for simulated calls."""
    folder = tmp_path / "data"
    folder.mkdir()
    signer = Signer.new("account-1")
    signer.save(folder / SIGNER_FILE)
    (folder / KEYS_FILE).write_text(json.dumps({signer.key_id: signer.dkim_record}))
    return folder


@pytest.fixture
def environ(folder: Path) -> Iterator[dict[str, str]]:
    with DnsServer() as dns:
        host, port = dns.address
        yield {
            "INGEST_DATA_DIR": str(folder),
            "INGEST_ACCOUNTS": "account-1",
            "INGEST_DNS_SERVERS": f"{host}:{port}",
            "PORT": str(free_port()),
        }


def test_it_takes_calls_stores_them_and_stops_within_ten_seconds(
    environ: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    port = int(environ["PORT"])
    genuine = {**environ, "INGEST_KEYS": str(folder / KEYS_FILE)}
    with running(ingest("all", "--workers", "2"), genuine, tmp_path / "log") as process:
        until(lambda: "all parts run" in process.output, "all parts", PATIENCE)
        url = f"http://127.0.0.1:{port}/copernica"
        assert run("simulate", "--events", "500", "--url", url, environ=environ).returncode == 0
        until(lambda: json.loads(typed("status", "--json", environ=environ).stdout)["stored"] == 500, "500 events")
        parts = descendants(process.pid)
        assert len(parts) >= 5  # redis, serve and its process, two workers
        began = time.monotonic()
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        assert time.monotonic() - began < 10
        until(lambda: not any(exists(pid) for pid in parts), "the end of all parts", 1)
    assert "Traceback" not in process.output


def test_it_takes_no_calls_that_the_simulator_of_dev_signed(environ: dict[str, str], tmp_path: Path) -> None:
    with running(ingest("all"), environ, tmp_path / "log") as process:
        until(lambda: answers(int(environ["PORT"])), "the endpoint", PATIENCE)
        url = f"http://127.0.0.1:{environ['PORT']}/copernica"
        refused = run("simulate", "--events", "5", "--url", url, environ=environ)
        assert refused.returncode == 1
        assert "401" in refused.stdout + refused.stderr
        assert process.alive


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"INGEST_ACCOUNTS": ""}, "INGEST_ACCOUNTS is not set"),
        ({"INGEST_HANDLERS": "no_such_module"}, "INGEST_HANDLERS=no_such_module cannot be imported"),
        ({"INGEST_ALLOW_ROOT": "off"}, "Workers do not run as root"),
    ],
)
def test_a_mistake_that_no_restart_would_mend_is_said_once(
    changed: dict[str, str], said: str, environ: dict[str, str], tmp_path: Path
) -> None:
    if "INGEST_ALLOW_ROOT" in changed and Path("/proc/self").stat().st_uid:
        pytest.skip("only root is refused")
    done = run("all", environ={**environ, **changed}, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_and_dev_never_work_in_one_folder(environ: dict[str, str], tmp_path: Path) -> None:
    assert "INGEST_ACCOUNTS" not in clean_environ()
    with running(ingest("all"), environ, tmp_path / "log") as process:
        until(lambda: "all parts run" in process.output, "all parts", PATIENCE)
        second = run("dev", environ={**environ, "PORT": str(free_port())})
        assert second.returncode == 1
        assert "is running in" in second.stderr
