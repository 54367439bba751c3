"""Tests that our users write, run by pytest as they run it: with what the program installs, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source import ROOT

#: As strict as a project can be; pytest-asyncio would warn of a setting of its own.
SETTINGS = "[pytest]\nfilterwarnings = error\naddopts = -p no:asyncio -p no:cacheprovider --strict-markers\n"
MODULE = """
from ingest import Event
from workers import on

seen: list[str] = []


@on("click", backoff=(5,))
def noted(event: Event) -> None:
    seen.append(event.url or "")
    if len(seen) == 1:
        raise ConnectionError("the CRM is away")


@on("open", batch=2)
async def counted(events: list[Event]) -> None:
    seen.append(str(len(events)))
"""
TESTS = """
import pytest
import shop
from ingest import testing


@pytest.fixture(autouse=True)
def nothing_seen():
    shop.seen.clear()


def test_a_click_is_noted_once_the_crm_is_back(copernica):
    with pytest.raises(ConnectionError):
        copernica.give(testing.click(url="https://example.nl/"))
    copernica.advance(seconds=5)
    assert shop.seen == ["https://example.nl/"] * 2
    assert copernica.waiting == copernica.dead_letters == []


def test_opens_come_in_twos(copernica):
    copernica.give(*[testing.open() for _ in range(3)])
    assert shop.seen == ["2", "1"]


def test_a_test_that_is_wrong_fails(copernica):
    copernica.give(testing.click())
"""


def run_pytest(folder: Path) -> "subprocess.CompletedProcess[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("INGEST_", "PYTEST_"))}
    options = ["-q", "-c", "pytest.ini", "--rootdir", ".", "--basetemp", "made"]
    command = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("example", ["contacts", "write-back"])
def test_the_tests_of_an_example_pass(example: str, tmp_path: Path) -> None:
    folder = tmp_path / example
    shutil.copytree(ROOT / "examples" / example, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pytest.ini").write_text(SETTINGS)
    done = run_pytest(folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_project_of_a_user_tests_its_handlers(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(SETTINGS + "copernica_handlers = shop\n")
    (tmp_path / "shop.py").write_text(MODULE)
    (tmp_path / "test_shop.py").write_text(TESTS)
    done = run_pytest(tmp_path)
    assert done.returncode == 1
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "E           ConnectionError: the CRM is away" in done.stdout


@pytest.mark.parametrize("page", ["test-handlers.md", "test-handlers.nl.md"])
def test_the_tests_that_the_page_shows_pass_as_printed(page: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how-to" / page).read_text()
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for number, block in enumerate(blocks):
        named = re.match(r"# (\w+\.py)\n", block)
        source = block if named else "def test_it():\n    " + block.replace("\n", "\n    ")
        (tmp_path / (named[1] if named else f"test_block_{number}.py")).write_text(source)
    (tmp_path / "conftest.py").write_text(
        "import pytest\nimport shop\n\n\n@pytest.fixture(autouse=True)\ndef empty():\n    shop.orders.clear()\n"
    )
    done = run_pytest(tmp_path)
    assert "6 passed" in done.stdout, done.stdout + done.stderr
