"""An object store on loopback that speaks S3: the server of moto, in an environment of its own.

It is a test double, with a real HTTP interface: it checks keys, takes uploads in parts and conditional writes.
"""

import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
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
        yield _user_of(url)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def page_for_everything(body: bytes, etag: str = "") -> Iterator[dict[str, str]]:
    """What a network that wants a login puts in the place of one; yields the environment of whoever uses it."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Fri, 20 Nov 2026 10:00:00 GMT")
            if etag:
                self.send_header("ETag", etag)
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield _user_of(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def _user_of(url: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "AKIAGEHEIM",
        "AWS_SECRET_ACCESS_KEY": "geheim",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
    }


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
