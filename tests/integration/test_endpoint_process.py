"""A process of the endpoint closes what it has opened."""

import socket
from pathlib import Path

import pytest

from ingest import spool
from ingest.endpoint import process
from ingest.settings import Settings


async def test_a_start_that_fails_gives_the_spool_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        assert spool.look(tmp_path).owners == 1
        raise OSError("no start")

    monkeypatch.setattr(process, "create_app", fail)
    settings = Settings.read(
        {"REDIS_URL": "redis://127.0.0.1:1", "INGEST_VERIFY": "off", "INGEST_SPOOL_DIR": str(tmp_path)}
    )
    with socket.create_server(("127.0.0.1", 0)) as sock, pytest.raises(OSError, match="no start"):
        await process._serve_socket(settings, sock, 1, 10)
    assert spool.look(tmp_path).owners == 0
