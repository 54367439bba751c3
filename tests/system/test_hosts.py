"""What hosts do with our files and our processes."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import kubernetes_validate
import pytest
import redis
import yaml

from tests.support.hosts import DEPLOY, KUBERNETES, ROOT
from tests.support.running import answers, clean_environ, descendants, free_port, ingest, run, running, until


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl, with which kustomize comes")
@pytest.mark.parametrize("overlay", ["complete", "production"])
def test_kustomize_makes_what_kubernetes_takes(overlay: str, tmp_path: Path) -> None:
    copy = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    secrets = copy / "overlays" / "production" / "secret.env"
    shutil.copy(f"{secrets}.example", secrets)
    made = subprocess.run(
        ["kubectl", "kustomize", copy / "overlays" / overlay],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    documents = list(yaml.safe_load_all(made.stdout))
    assert len(documents) > 10
    for document in documents:
        if "keda" not in document["apiVersion"]:
            kubernetes_validate.validate(document, "1.37.0", strict=True)
    names = {document["metadata"]["name"] for document in documents}
    wanted = set(re.findall(r"(?:configMapRef|secretRef):\s+name: (\S+)", made.stdout))
    assert wanted <= names, "a reference was not renamed"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for unit in (DEPLOY / "systemd").glob("*.service"):
        text = unit.read_text()
        # The program is not installed here, nor is its user.
        text = re.sub(r"/opt/ingest/bin/ingest.*", "/bin/true", text)
        text = re.sub(r"^(User|EnvironmentFile)=.*\n", "", text, flags=re.MULTILINE)
        copy = tmp_path / unit.name.replace("@", "@1")
        copy.write_text(text)
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", copy],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        about = [line for line in checked.stderr.splitlines() if copy.name in line]
        assert about == [], unit.name


def test_heroku_signals_all_processes_at_once_and_the_call_that_arrives_is_kept(
    redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    environ = {
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/events.db",
        "PORT": str(port),
        "WEB_CONCURRENCY": "2",
        "INGEST_VERIFY": "off",
    }
    assert run("db", "upgrade", environ=environ).returncode == 0
    web_log, worker_log = tmp_path / "web.log", tmp_path / "worker.log"
    with (
        running(ingest("serve"), environ, web_log) as web,
        running(ingest("worker", "--queue", "events"), environ, worker_log) as worker,
    ):
        until(lambda: answers(port), "the endpoint")
        with redis.from_url(redis_url) as client:
            until(lambda: client.scard("rq:workers"), "the worker")
        body = b"type=open&id=1"
        head = f"POST /copernica HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(head + body[:5])
            time.sleep(0.2)
            for process in (web, worker):
                for pid in (process.pid, *descendants(process.pid)):
                    os.kill(pid, signal.SIGTERM)
            time.sleep(0.2)
            connection.sendall(body[5:])
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert (web.wait(), worker.wait()) == (0, 0)
    assert run("drain", environ=environ).returncode == 0
    assert "1 event " in run("status", environ=environ).stdout


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_the_hook_gives_heroku_the_file_that_it_wants(tmp_path: Path) -> None:
    subprocess.run([ROOT / "bin" / "pre_compile"], cwd=tmp_path, timeout=10, check=True)
    assert re.fullmatch(r"3\.\d+\n", (tmp_path / ".python-version").read_text())


def test_the_wrapper_for_a_persons_shell_uses_the_settings_of_the_units(tmp_path: Path) -> None:
    settings = tmp_path / "ingest.env"
    settings.write_text("INGEST_ACCOUNTS=account-77\nINGEST_DATA_DIR=/var/lib/ingest/data\n")
    settings.chmod(0o600)
    wrapper = tmp_path / "ingest"
    text = (DEPLOY / "systemd" / "ingest").read_text()
    # Here the user is nobody in particular, and the program is not installed.
    for installed, here in (
        ("/opt/ingest/bin/ingest", f"{sys.executable} -m ingest"),
        ("/etc/ingest.env", str(settings)),
        ('[ "$(id -u)" = 0 ]', "false"),
        ('"$(id -un)" != ingest', '"" != ""'),
    ):
        assert installed in text
        text = text.replace(installed, here)
    wrapper.write_text(text)
    wrapper.chmod(0o700)
    shown = subprocess.run(
        [wrapper, "config"],
        env=clean_environ(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "account-77" in shown.stdout
