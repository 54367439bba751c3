"""The tests of this folder start whole processes: `make test-system` runs them, `make test` only the quickest."""

from pathlib import Path

import pytest

#: Seconds that one test may take. Most need a tenth of it; the rest is for machines that are busy.
TIMEOUT = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.timeout(TIMEOUT))
