"""A server of a test's own, that may be killed, stopped and started again."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from ingest.dev import embedded_redis
from ingest.redis_client import connect
from tests.support.running import Process, until


class Valkey:
    """One server as `ingest dev` runs it; on a Unix socket, or on a port of this machine."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0" if port else f"unix://{folder}/valkey.sock"
        self.process: Process | None = None

    def start(self, *options: str, wait: bool = True) -> None:
        # A copy: Sentinels have a server write into its configuration.
        configuration = shutil.copy(embedded_redis.configuration(), self.folder / "valkey.conf")
        argv = [str(embedded_redis.binary()), str(configuration), "--port", str(self.port)]
        argv += ["--bind", "127.0.0.1"] if self.port else ["--unixsocket", f"{self.folder}/valkey.sock"]
        self.process = Process([*argv, "--dir", str(self.folder), *options], {}, self.folder / "log")
        if wait:
            until(self.answers, "the server")

    def answers(self) -> bool:
        with connect(self.url, 1.0) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def client(self) -> redis.Redis:
        return connect(self.url)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send(number)

    def kill(self) -> None:
        """As a crash would; what is on disk stays."""
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def end(self) -> None:
        if self.process is not None:
            self.process.send(signal.SIGCONT)
            self.process.stop()


@contextmanager
def valkey(port: int = 0, *options: str) -> Iterator[Valkey]:
    """A running server for as long as the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="ingest-"))
    server = Valkey(folder, port)
    try:
        server.start(*options)
        yield server
    finally:
        server.end()
        shutil.rmtree(folder)
