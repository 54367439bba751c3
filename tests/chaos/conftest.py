"""What the tests of this folder share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.outages import Site
from tests.support.valkey import valkey


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with valkey() as server:
        yield Site(server, tmp_path)
