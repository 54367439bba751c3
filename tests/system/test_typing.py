"""Types of what users import: right handlers pass their type checker, wrong ones do not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: A module as a user has it; every line that ends in `# wrong` has to be an error, and no other.
HANDLERS = """
from collections.abc import Sequence

from ingest import Event, EventType
from ingest.copernica.api import Copernica, RetryPolicy
from workers import GiveUp, TryLater, on


@on("open", "click", where=lambda event: event.recipient, retries=2, backoff=[1, 2], rate="50/s")
def one(event: Event) -> None:
    url: str | None = event.url
    if event.type is EventType.OPEN:
        raise TryLater("later", seconds=60)
    print(url)


@on("click")
async def later(event: Event) -> int:
    async with Copernica("token", policy=RetryPolicy(attempts=2)) as api:
        await api.put(f"/profile/{event.profile}/fields", {"Clicked": "yes"})
    raise GiveUp("never")


@on("delivery", batch=500, name="all")
def several(events: list[Event]) -> None:
    for event in events:
        print(event.recipient)


@on(batch=10)
async def several_later(events: Sequence[Event]) -> None: ...


one(several.__defaults__)  # wrong


@on("open")  # wrong
def too_few() -> None: ...


@on("open")  # wrong
def a_list(events: list[Event]) -> None: ...


@on("open", batch=5)  # wrong
def no_list(event: Event) -> None: ...


@on("open", batch="5")  # wrong
def no_number(events: list[Event]) -> None: ...


@on("open", colour="red")  # wrong
def no_option(event: Event) -> None: ...
"""
TESTS = """
from ingest import Event, testing


def test_it(copernica: testing.Workbench, copernica_api: testing.FakeApi) -> None:
    event: Event = testing.open(recipient="jan@example.nl")
    summary: testing.Summary = copernica.give(event)
    errors: list[BaseException | None] = [call.error for call in copernica.calls]
    print(summary.done, errors, copernica_api.requests)
    copernica.give("open")  # wrong
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "test_handlers.py").write_text(TESTS)
    return tmp_path


def wrong_lines() -> set[str]:
    return {
        f"{name}:{number}"
        for name, text in (("handlers.py", HANDLERS), ("test_handlers.py", TESTS))
        for number, line in enumerate(text.splitlines(), start=1)
        if line.endswith("# wrong")
    }


def test_a_users_modules_pass_mypy_and_what_is_wrong_does_not(project: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", "cache", "."]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert {":".join(line.split(":")[:2]) for line in errors} == wrong_lines(), done.stdout + done.stderr


def test_a_users_modules_pass_pyright_and_what_is_wrong_does_not(project: Path) -> None:
    (project / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "."]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = {f"{Path(one['file']).name}:{one['range']['start']['line'] + 1}" for one in found}
    assert errors == wrong_lines(), done.stdout
