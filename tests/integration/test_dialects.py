"""The kind of database that a URL names."""

import sys

import pytest

from tests.support.cli import typed


def test_postgresql_without_its_driver_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # importing it fails as if it were not installed
    monkeypatch.delitem(sys.modules, "workers.store.postgres", raising=False)
    done = typed("db", "upgrade", environ={"DATABASE_URL": "postgresql://u@localhost/events"})
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "ingest: PostgreSQL needs its driver: pip install 'copernica-ingest[postgres]'.\n"
