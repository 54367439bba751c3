"""Tests of what the source looks like, side by side, so that each file is parsed once for all of them."""

from collections.abc import Iterator

import pytest

from tests.support.source import parsed


@pytest.fixture(scope="package", autouse=True)
def _parsed_once() -> Iterator[None]:
    yield
    parsed.cache_clear()  # trees of a thousand files, through which every collection of garbage would go
