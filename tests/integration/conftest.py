"""What the tests of handlers share."""

import sys
from pathlib import Path

import pytest

from tests.support.plugged import HEAD, Plug, Plugged, names
from workers.handlers import configured
from workers.handlers.configured import forget_handlers
from workers.store.store import Store


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str, database: str, store: Store) -> Plug:
    """Set everything up with the handlers in a piece of code, a module in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(configured, "_known", {})

    def plugged(source: str) -> Plugged:
        name = next(names)
        (tmp_path / f"{name}.py").write_text(HEAD + source)
        for key, value in (("REDIS_URL", redis_url), ("DATABASE_URL", database), ("INGEST_HANDLERS", name)):
            monkeypatch.setenv(key, value)
        forget_handlers()
        return Plugged(name, store)

    return plugged
