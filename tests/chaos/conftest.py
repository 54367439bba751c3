"""What the tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.site import Site
from tests.support.valkey import valkey

#: Seconds that one of these tests may take: some attack for many minutes.
TIMEOUT = 7200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with valkey() as server:
        yield Site(server, tmp_path)
