"""What no command has foreseen is one sentence all the same, never a traceback."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import typed
from workers.store.store import Store


def missing(name: str) -> Exception:
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (missing("psycopg"), 2, "pip install 'copernica-ingest[postgres]'"),
        (missing("opentelemetry.sdk"), 2, "pip install 'copernica-ingest[otel]'"),
        (missing("sentry_sdk"), 2, "pip install 'copernica-ingest[sentry]'"),
        (
            missing("my_own"),
            1,
            "fault of the program: ModuleNotFoundError: No module named 'my_own'. LOG_LEVEL=debug",
        ),
        (
            PermissionError(13, "no", "/some/\x1b[31mfile"),
            1,
            "/some/\\x1b[31mfile cannot be used: Permission denied.",
        ),
        (OSError("odd"), 1, "fault of the program: OSError: odd."),
        (KeyError("geheim"), 1, "fault of the program: KeyError: '***'."),
        (RuntimeError(), 1, "fault of the program: RuntimeError."),
        (ZeroDivisionError("first\nsecond"), 1, "fault of the program: ZeroDivisionError: first."),
    ],
)
def test_a_person_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, code: int, said: str
) -> None:
    def broken(_url: str) -> Any:
        raise error

    monkeypatch.setattr(Store, "open", broken)
    environ = {"DATABASE_URL": "postgresql://u:geheim@h/d", "INGEST_DATA_DIR": str(tmp_path)}
    done = typed("stats", environ=environ)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert done.stderr.startswith("ingest: ")
    assert said in done.stderr
