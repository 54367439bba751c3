"""docs/reference says what the code says."""

import inspect
import re
from importlib import import_module

import pytest
from click import Command, Option

from ingest.setting_catalogue import BY_NAME
from ingest.settings import Settings
from tests.support.reference import FOLDER, PAGES
from tests.support.reference.api import MODULES
from tests.support.reference.commands import commands


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_is_as_make_reference_writes_it(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name]()


#: What other people's code imports: a name that is missing here breaks it, and a new one is a promise.
PUBLIC = {
    "ingest": "Event EventType __version__",
    "workers": "GiveUp TryLater on",
    "ingest.copernica.api": "API_URL AUTH_URL Copernica RetryPolicy",
    "ingest.endpoint.mounting": "mount readyz",
    "ingest.testing": "Call Factory FakeApi HandlerCall SimulatedCopernica Summary Waiting Workbench abuse "
    "attempt bot_click bounce click delivery dmarc event failure forwarded open profile_create "
    "profile_delete profile_update response retry subprofile_create subprofile_delete "
    "subprofile_update unknown unsubscribe",
}


def test_the_public_names_are_these() -> None:
    found = {name: " ".join(sorted(import_module(name).__all__)) for name in MODULES}
    assert found == PUBLIC


def test_every_setting_is_described_and_nothing_else() -> None:
    assert sorted(BY_NAME) == sorted(Settings.names())


@pytest.mark.parametrize("name", [name for name, one in BY_NAME.items() if one.example])
def test_the_example_of_a_setting_can_be_used(name: str) -> None:
    belongs = {
        "INGEST_REDIS_KEY": {"INGEST_REDIS_CERT": "/etc/ingest/redis-client.pem"},
        "INGEST_PSEUDONYMISE": {"INGEST_PSEUDONYM_KEY": "0123456789abcdef" * 2},
    }.get(name, {})
    assert Settings.try_to_read({name: BY_NAME[name].example, **belongs})[1] == []


def test_every_option_says_what_it_does() -> None:
    options = [(one.command_path, option) for one in commands() for option in one.command.params]
    assert [
        (path, option.name)
        for path, option in options
        if isinstance(option, Option) and not (option.hidden or option.help)
    ] == []


def test_a_command_that_ends_with_a_code_of_its_own_says_so() -> None:
    ending = [
        one
        for one in commands()
        if re.search(r"sys\.exit\(|\bExit\((?!INTERRUPTED)|\b_run\(", _source(one.command))
    ]
    assert len(ending) > 10
    helps = {one.command_path: f"{one.command.get_help(one)}" for one in ending}
    assert [path for path, text in helps.items() if "exit code" not in text] == []


def _source(command: Command) -> str:
    return inspect.getsource(inspect.unwrap(command.callback)) if command.callback else ""
