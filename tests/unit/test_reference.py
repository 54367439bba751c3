"""docs/reference says what the code says."""

import pytest

from ingest.setting_catalogue import BY_NAME
from ingest.settings import Settings
from tests.support.reference import FOLDER, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_is_as_make_reference_writes_it(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name]()


def test_every_setting_is_described_and_nothing_else() -> None:
    assert sorted(BY_NAME) == sorted(Settings.names())


@pytest.mark.parametrize("name", [name for name, one in BY_NAME.items() if one.example])
def test_the_example_of_a_setting_can_be_used(name: str) -> None:
    belongs = {"INGEST_REDIS_KEY": {"INGEST_REDIS_CERT": "/etc/ingest/redis-client.pem"}}.get(name, {})
    assert Settings.try_to_read({name: BY_NAME[name].example, **belongs})[1] == []
