"""What is said of a SQLite file that cannot be used says what to do."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ingest.errors import Unavailable
from workers.store.store import Store


def said(file: Path) -> str:
    with pytest.raises(Unavailable) as refused, Store.open(f"sqlite:///{file}"):
        pass
    return str(refused.value)


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    assert said(tmp_path).endswith(
        "; see that DATABASE_URL is right and that this user may write the file and its folder."
    )


def test_a_file_of_something_else_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_text("something else\n" * 100)
    assert said(tmp_path / "other.db").endswith("; see which file DATABASE_URL names.")


def test_a_damaged_file_is_answered_with_how_a_backup_is_put_there(tmp_path: Path) -> None:
    file = tmp_path / "damaged.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.commit()
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    assert said(file).endswith("; put a backup in its place with `ingest db restore`.")
