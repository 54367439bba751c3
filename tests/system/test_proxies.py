"""Signed calls come through the proxies that the documentation shows, with the configuration that stands there."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ingest.simulation.signer import Signer
from tests.support.proxies import PROXIES, proxy, shown
from tests.support.running import answers, free_port, ingest, run, running, until

FORM = "application/x-www-form-urlencoded"


@dataclass
class Front:
    """A proxy in front of an endpoint that verifies."""

    port: int
    signer: Signer
    folder: Path

    def send(self, target: str, body: bytes, *options: str, host: str = "", **headers: str) -> tuple[int, str]:
        """A signed call by curl; returns the status and the HTTP version of the answer."""
        host = host or f"localhost:{self.port}"
        signed = self.signer.sign(target, host, FORM, body)
        sent = {**signed, **{name.replace("_", "-"): value for name, value in headers.items()}}
        (self.folder / "sent").write_bytes(body)
        lines = "\n".join(f"{name}: {value}" for name, value in sent.items() if name.lower() != "content-length")
        (self.folder / "headers").write_text(lines)
        command = [
            "curl",
            "-sk",
            "--path-as-is",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{http_version}",
            "-m",
            "30",
        ]
        command += ["-H", f"@{self.folder}/headers", "--data-binary", f"@{self.folder}/sent", *options]
        done = subprocess.run(
            [*command, f"https://localhost:{self.port}{target}"], capture_output=True, text=True, check=True
        )
        status, version = done.stdout.split()
        return int(status), version


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.new("account-1234")


@pytest.fixture(scope="module")
def endpoint(signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an endpoint that verifies, and keeps calls in its spool alone."""
    folder, port = tmp_path_factory.mktemp("endpoint"), free_port()
    (folder / "keys.json").write_text(json.dumps({signer.key_id: signer.dkim_record}))
    environ = {
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        "INGEST_SPOOL_DIR": str(folder / "spool"),
        "INGEST_ACCOUNTS": "1234",
        "INGEST_KEYS": str(folder / "keys.json"),
        "HOST": "127.0.0.1",
        "PORT": str(port),
    }
    with running(ingest("serve"), environ, folder / "web.log"):
        until(lambda: answers(port), "the endpoint", 90)
        yield port


@pytest.fixture(scope="module", params=sorted(PROXIES))
def front(
    request: pytest.FixtureRequest, endpoint: int, signer: Signer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("proxy")
    configuration = shown("how-to/proxies.md", request.param)
    with proxy(request.param, configuration, folder, endpoint, "/copernica") as port:
        yield Front(port, signer, folder)


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize(
    "target",
    ["/copernica", "/copernica/", "/copernica/a%2Fb/%7Ec", "/copernica?a=%2F+b&c=%20", "/copernica//x/../y?"],
)
def test_a_signature_survives_whatever_the_target_is_and_by_either_http(
    front: Front, target: str, version: str
) -> None:
    option = "--http2" if version == "2" else "--http1.1"
    assert front.send(target, b"type=open&id=1", option) == (200, version)


def test_a_body_of_5_mb_comes_through(front: Front) -> None:
    assert front.send("/copernica", b"type=bounce&mime=" + b"x" * 5_000_000)[0] == 200


def test_a_client_that_waits_to_be_told_to_go_on_is_told(front: Front) -> None:
    assert front.send("/copernica", b"type=open&id=1", "--http1.1", "-H", "Expect: 100-continue")[0] == 200


@pytest.mark.parametrize("option", ["--http1.1", "--http2"])
def test_a_head_of_15_kb_comes_through(front: Front, option: str) -> None:
    assert front.send("/copernica", b"type=open&id=1", option, X_Long="y" * 14_000)[0] == 200


def test_a_call_that_was_signed_for_another_host_is_refused(front: Front) -> None:
    own = f"localhost:{front.port}"
    assert front.send("/copernica", b"type=open&id=1", host="else.example.nl", Host=own)[0] == 401


def test_all_that_copernica_sends_comes_through(front: Front, signer: Signer) -> None:
    signer.save(front.folder / "signer.json")
    url, key = f"https://localhost:{front.port}/copernica", str(front.folder / "signer.json")
    done = run(
        *("simulate", "--url", url, "--key", key, "--events", "100", "--connections", "4"),
        environ={"SSL_CERT_FILE": str(front.folder / "ca.pem"), "INGEST_ACCOUNTS": "1234"},
        seconds=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
