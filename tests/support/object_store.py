"""An object store on loopback that speaks S3: the server of moto, in an environment of its own.

It is a test double, with a real HTTP interface: it checks keys, takes uploads in parts and conditional writes.
"""

import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.error import URLError

from tests.benchmarks.peers import installed
from tests.support.running import free_port

#: What is installed; it has sixty dependencies, so that it is no extra of ours.
MOTO = "moto[server]==5.2.5"
#: Seconds until it answers, on a machine that is busy.
PATIENCE = 60.0


@contextmanager
def object_store(*buckets: str, strict: bool = False) -> Iterator[dict[str, str]]:
    """Run one with these buckets; yields the environment of whoever uses it. A `strict` one knows nobody's key.

    Raises:
        NotInstalled: it cannot be installed here.
    """
    python, port = installed.python("moto", MOTO), free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(python.parent / "moto_server"), "-H", "127.0.0.1", "-p", f"{port}"]
    environ: Mapping[str, str] = {"INITIAL_NO_AUTH_ACTION_COUNT": "0"} if strict else {}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(url)
        for bucket in buckets:
            urllib.request.urlopen(
                urllib.request.Request(f"{url}/{bucket}", method="PUT"), timeout=PATIENCE
            ).close()
        yield {
            "AWS_ACCESS_KEY_ID": "AKIAGEHEIM",
            "AWS_SECRET_ACCESS_KEY": "geheim",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url,
        }
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=PATIENCE).close()
            return
        except URLError as error:
            if time.monotonic() > until or getattr(error, "code", None):
                return
            time.sleep(0.1)
