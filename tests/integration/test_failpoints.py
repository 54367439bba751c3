"""Fail points are where the tuple says, and do what the environment says."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from ingest import failpoints
from ingest.errors import SettingsError
from ingest.failpoints import POINTS, VARIABLE, Injected
from tests.support.source import modules


@pytest.fixture(autouse=True)
def unarmed() -> Iterator[None]:
    yield
    failpoints.arm({})


def test_every_point_is_placed_once_and_no_other_is() -> None:
    lines = "\n".join(path.read_text() for name, path in modules().items() if name != "ingest.failpoints")
    placed = Counter(part.partition('"')[0] for part in lines.split('failpoints.reach("')[1:])
    assert placed == Counter(POINTS)


def test_a_point_fires_once_on_the_passage_that_was_named(caplog: pytest.LogCaptureFixture) -> None:
    failpoints.arm({VARIABLE: "commit:2=raise, ack=sleep:0.05"})
    assert failpoints.armed
    assert "WILL FAIL" in caplog.text
    failpoints.reach("commit")
    failpoints.reach("answered")
    with pytest.raises(Injected, match="commit"):
        failpoints.reach("commit")
    failpoints.reach("commit")
    began = time.monotonic()
    failpoints.reach("ack")
    assert time.monotonic() - began >= 0.05


def test_without_the_variable_no_point_is_armed() -> None:
    failpoints.arm({})
    assert not failpoints.armed


@pytest.mark.parametrize("text", ["nowhere=kill", "commit", "commit=explode", "commit:0=kill", "commit:x=kill"])
def test_an_unusable_fail_point_is_one_sentence(text: str) -> None:
    with pytest.raises(SettingsError, match=VARIABLE):
        failpoints.arm({VARIABLE: text})
