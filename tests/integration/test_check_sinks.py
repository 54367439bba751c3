"""`ingest check` puts something into whatever events go on to, and says which of them does not take it."""

from pathlib import Path

import pytest

from ingest.settings import Settings
from tests.support.running import free_port
from workers.operations.check import sinks


@pytest.mark.parametrize(
    ("code", "name"),
    [("export-fails", "INGEST_EXPORT_TO"), ("sink-fails", "INGEST_CLICKHOUSE_URL")],
)
def test_what_takes_nothing_is_found(code: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    where = {
        "INGEST_EXPORT_TO": str(tmp_path / "a file"),
        "INGEST_CLICKHOUSE_URL": f"http://user:geheim@127.0.0.1:{free_port()}/db.events",
    }
    (found,) = sinks.check(Settings.read({name: where[name]}))
    assert (found.code, found.level) == (code, "wrong")
    assert "geheim" not in found.text
