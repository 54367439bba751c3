"""What the documentation says exists."""

import re
from pathlib import Path

import click
import pytest

from ingest import __version__
from ingest.cli.main import main
from ingest.stream.keys import Keys
from workers.store.console_tables import metadata

ROOT = Path(__file__).parents[2]
FOLDERS = (
    ".",
    "docs",
    "docs/decisions",
    "docs/how-to",
    "docs/hosts",
    "docs/how-to",
    "docs/reference",
    "deploy",
    "examples/contacts",
    "examples/laravel",
    "examples/php",
    "examples/php-behind",
    "examples/python-apps",
    "examples/symfony",
    "examples/write-back",
    "tests/benchmarks",
)
PAGES = [page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """What can stand behind a # in a link to the page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        twin = target.with_suffix(".nl.md")
        if ".nl." in page.name and twin.exists():  # where the site leads from a page in Dutch
            target = twin
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_the_documentation_exists(page: Path) -> None:
    text = page.read_text()
    lines = re.findall(r"^ *(?:\$ )?(?:[A-Z_]+=\S* )*(?:\.venv/bin/)?ingest ([a-z][^#|\n]*)$", text, re.MULTILINE)
    for line in lines + re.findall(r"`ingest\s([a-z][^`|]*)`", text):
        command: click.Command = main
        for word in line.split():
            if word.startswith("["):  # the rest says what may stand there
                break
            if isinstance(command, click.Group):
                assert word in command.commands, line
                command = command.commands[word]
            elif word.startswith("--"):
                known = {name for parameter in command.params for name in parameter.opts}
                assert word.partition("=")[0] in known, line


def test_nobody_is_told_to_install_from_an_index_what_is_on_none() -> None:
    """Somebody else could publish something under our name there; what is named is a wheel of ours, or a clone."""
    installed = [
        (page.name, package)
        for page in {*PAGES, *(ROOT / "examples").rglob("*.md")} - {ROOT / "CHANGELOG.md"}
        for line in re.findall(r"pip install ([^\n`]*)", page.read_text())
        for package in re.findall(r"[^ ']*copernica[^ ']*", line)
    ]
    assert {package.partition("[")[0] for _, package in installed} == {
        f"dist/copernica_ingest-{__version__}-py3-none-any.whl"
    }, installed


def test_the_architecture_names_every_table() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert not [name for name in metadata.tables if f"| `{name}`" not in text and f"`{name}`," not in text]


def test_the_architecture_names_every_key() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    ends = {name.rpartition(":")[2] for name in vars(Keys()).values()} - {""}
    assert len(ends) > 5
    assert not [end for end in ends if not re.search(f":{end}[`:]", text)]


def test_every_row_of_the_threat_model_names_a_test_that_is_there() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`((?:unit|integration|system)/\w+\.py)::(\w+)`", text)
    assert len(named) > 30
    there = [f"def {name}(" in (ROOT / "tests" / file).read_text() for file, name in named]
    assert [one for one, found in zip(named, there, strict=True) if not found] == []
    rows = re.findall(r"^\| (?!they try to|what \||-)(.*)\|$", text, re.MULTILINE)
    assert [row for row in rows if "::" not in row and not row.startswith("--")] == []


def test_proxies_pass_on_the_port_that_a_browser_names() -> None:
    """A form whose origin has a port that our host lacks is one of another site."""
    for page in PAGES:
        assert not re.search(r"Host \$host;", page.read_text()), page
