"""Which files are closed to others, and which are left alone."""

from pathlib import Path

import pytest

from ingest.private_files import close_to_others, open_to_others
from ingest.settings import Settings

OURS = [
    "ingest.db", "ingest.db-wal", "ingest.db-shm", "redis.url", "simulator.json", "keys.json", "call.curl",
    "call.curl.new", "dev.lock", "redis/appendonlydir/appendonly.aof.1.incr.aof", "spool/1-2-3.spool",
    "spool/1-2-3.bad", "spool/1.lock",
]  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data folder as the release before left it under the usual umask."""
    for name in OURS:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o644)
    for folder in (tmp_path, *tmp_path.rglob("*/")):
        folder.chmod(0o755)
    return Settings.read({"INGEST_DATA_DIR": str(tmp_path / "data")})


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


def test_everything_of_ours_is_closed_to_others(settings: Settings, tmp_path: Path) -> None:
    assert len(list(open_to_others(settings))) == len(OURS) + 4
    close_to_others(settings)
    assert {name: mode for name, mode in modes(tmp_path).items() if mode & 0o077} == {}
    assert modes(tmp_path)["data"] == 0o700
    assert modes(tmp_path)["data/ingest.db"] == 0o600
    assert list(open_to_others(settings)) == []


def test_what_is_not_ours_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    for name in ("data/report.html", "data/spool/notes.txt", "elsewhere"):
        (tmp_path / name).touch(0o644)
        (tmp_path / name).chmod(0o644)
    (tmp_path / "data/call.curl.link").symlink_to(tmp_path / "elsewhere")
    close_to_others(settings)
    still_open = {name for name, mode in modes(tmp_path).items() if mode & 0o077}
    assert still_open == {
        "data",
        "data/report.html",
        "data/spool",
        "data/spool/notes.txt",
        "elsewhere",
        "data/call.curl.link",
    }


def test_a_database_and_a_spool_elsewhere_are_closed_too(tmp_path: Path) -> None:
    (tmp_path / "events.db").touch(0o644)
    (tmp_path / "spool").mkdir(0o755)
    (tmp_path / "spool/1-2-3.spool").touch(0o644)
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/events.db", "INGEST_SPOOL_DIR": str(tmp_path / "spool")}
    close_to_others(Settings.read(environ | {"INGEST_DATA_DIR": str(tmp_path / "none")}))
    assert modes(tmp_path) == {"events.db": 0o600, "spool": 0o700, "spool/1-2-3.spool": 0o600}


def test_nothing_there_is_no_error(tmp_path: Path) -> None:
    close_to_others(Settings.read({"INGEST_DATA_DIR": str(tmp_path / "none"), "DATABASE_URL": "postgresql://h/d"}))
