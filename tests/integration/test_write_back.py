"""The example that writes back to Copernica, and the recipes for handlers, called as a worker calls them."""

import asyncio
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ingest.copernica.events import Event, decode
from ingest.simulation.api_faults import Faults
from ingest.simulation.fake_api import FakeCopernica
from tests.support.fake_copernica import HASTY, TOKEN, add_profile, fake_copernica, fields_of
from workers import GiveUp, TryLater

EXAMPLE = Path(__file__).parents[2] / "examples" / "write-back" / "write_back.py"
#: Of a click, in Unix seconds and as it is written.
AT, WRITTEN = 1795165999, "2026-11-20 09:13:19"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCopernica]:
    """The fake, with two profiles of which the second is gone, as the settings name it."""
    fake = FakeCopernica(None, TOKEN)
    add_profile(fake, 1, "jan@example.nl")
    add_profile(fake, 2, "weg@example.nl", removed=AT - 9999)
    with fake_copernica(fake) as environ:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield fake


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_back", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "POLICY", HASTY)
    return module


def click(profile: int, at: int = AT) -> Event:
    body = f"type=click&id=a&time={at}&profile={profile}&original=x".encode()
    return decode(body, "application/x-www-form-urlencoded", "/copernica", AT * 1_000_000)


def test_the_latest_click_is_written_once_whatever_the_order(fake: FakeCopernica, example: ModuleType) -> None:
    for batch in ([click(1, AT - 9), click(1), click(2), click(3)], [click(1)], [click(1, AT - 5)]):
        asyncio.run(example.write_back(batch))
        assert fields_of(fake, 1)["LastClick"] == WRITTEN
    assert [seen for seen in fake.seen if seen.startswith("PUT")] == ["PUT /profile/1/fields"]
    assert fake.seen.count("POST /") == 1, "access is gained once"
    asyncio.run(example.write_back([click(1, AT + 1)]))
    assert fields_of(fake, 1)["LastClick"] == "2026-11-20 09:13:20"


@pytest.mark.parametrize(
    ("plan", "error"),
    [("500*9@profile", TryLater), ("ok@profile,elsewhere@profile", GiveUp), ("cut*9@profile", TryLater)],
)
def test_a_failure_says_whether_there_is_a_point_in_trying_again(
    fake: FakeCopernica, example: ModuleType, plan: str, error: type[Exception]
) -> None:
    fake.faults = Faults(plan)
    with pytest.raises(error) as raised:
        asyncio.run(example.write_back([click(1)]))
    assert TOKEN not in str(raised.value)
    fake.faults = Faults("ok,503@profile,ok@profile,cut@profile")
    asyncio.run(example.write_back([click(1)]))
    assert fields_of(fake, 1)["LastClick"] == WRITTEN


def test_what_the_clients_page_shows_works_as_printed(
    fake: FakeCopernica, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (EXAMPLE.parents[2] / "docs" / "client.md").read_text()
    script, *recipes = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    urls = ", ".join(repr(os.environ[name]) for name in ("COPERNICA_API_URL", "COPERNICA_AUTH_URL"))
    for database, number in ((1, 12), (1, 13)):
        add_profile(fake, number, "jan@example.nl", database=database)
    exec(script.replace('"your API token"', f"{TOKEN!r}, {urls}"), {})
    assert "{'Email': 'jan@example.nl'}" in capsys.readouterr().out
    assert fields_of(fake, 12)["Clicked"] == "yes"

    names: dict[str, Any] = {}
    exec("\n".join(recipes), names)
    asyncio.run(names["unsubscribed"](click(12)))
    names["unsubscribed_too"](click(13))
    assert fields_of(fake, 12)["Newsletter"] == fields_of(fake, 13)["Newsletter"] == "no"
