"""The kind of database that a URL names."""

import sys

import pytest

from tests.support.cli import typed


@pytest.mark.parametrize(
    ("scheme", "module", "driver", "said"),
    [
        (
            "postgresql",
            "postgres",
            "psycopg",
            "PostgreSQL needs its driver: pip install 'copernica-ingest[postgres]'.",
        ),
        ("mysql", "mariadb", "pymysql", "MariaDB needs its driver: pip install 'copernica-ingest[mariadb]'."),
    ],
)
def test_a_database_without_its_driver_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, scheme: str, module: str, driver: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)  # importing it fails as if it were not installed
    for name in [name for name in sys.modules if name.startswith(f"workers.store.{module}")]:
        monkeypatch.delitem(sys.modules, name)
    done = typed("db", "upgrade", environ={"DATABASE_URL": f"{scheme}://u@localhost/events"})
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"ingest: {said}\n"
