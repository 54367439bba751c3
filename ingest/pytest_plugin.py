"""Fixtures for tests of your own handlers (`ingest.testing`); pytest finds them by itself.

It loads this module in every run of every project that has this package, so nothing is imported here that is not
used.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ingest.testing import FakeApi, SimulatedCopernica, Workbench

#: The option in pytest's own settings that names modules with handlers.
OPTION = "copernica_handlers"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option to pytest's settings."""
    parser.addini(OPTION, "modules whose handlers the fixture `copernica` has, as in INGEST_HANDLERS", "linelist")


@pytest.fixture(scope="session")
def copernica_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the tables and nothing in them; a copy of it is made faster than its tables."""
    from workers.store.schema import upgrade  # noqa: PLC0415

    path = tmp_path_factory.mktemp("copernica") / "empty.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def copernica(
    request: pytest.FixtureRequest, copernica_tables: Path, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Workbench]":
    """Runs handlers as a worker does, on a clock that stands still, with a database of its own."""
    from ingest.testing import Workbench  # noqa: PLC0415

    path = tmp_path_factory.mktemp("copernica") / "events.db"
    shutil.copy(copernica_tables, path)
    with Workbench(f"sqlite:///{path}") as workbench:
        workbench.use(*request.config.getini(OPTION))
        yield workbench


@pytest.fixture
def simulated_copernica(tmp_path_factory: pytest.TempPathFactory) -> "SimulatedCopernica":
    """Signs calls as Copernica does, with a key of this test."""
    from ingest.testing import SimulatedCopernica  # noqa: PLC0415

    return SimulatedCopernica(tmp_path_factory.mktemp("copernica"))


@pytest.fixture
def copernica_api(monkeypatch: pytest.MonkeyPatch) -> "Iterator[FakeApi]":
    """A fake of Copernica's REST API, and the settings with which handlers find it in the environment."""
    from ingest.testing.api import fake_api  # noqa: PLC0415

    with fake_api() as api:
        for name, value in api.environ.items():
            monkeypatch.setenv(name, value)
        yield api
