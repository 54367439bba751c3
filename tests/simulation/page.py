"""Make anew what docs/capacity.md shows, by `make capacity`: outputs of `ingest plan`, the table, the picture."""

import re
from pathlib import Path

from click.testing import CliRunner

from ingest.cli.main import main
from tests.simulation import large

PAGE = Path(__file__).parents[2] / "docs" / "capacity.md"
#: A command of the page, and what it prints.
_BLOCK = re.compile(r"(```\n\$ ingest (plan [^\n]*)\n).*?(```)", re.DOTALL)
_TABLE = re.compile(r"(<!-- simulation: begin -->\n).*?(<!-- simulation: end -->)", re.DOTALL)


def with_outputs(page: str) -> str:
    """The page with what its commands print now."""
    return _BLOCK.sub(lambda found: found[1] + _printed(found[2]) + found[3], page)


def commands(page: str) -> list[str]:
    """The commands whose outputs it shows."""
    return [found[2] for found in _BLOCK.finditer(page)]


def with_table(page: str, table: str) -> str:
    """The page with this table of the simulation."""
    return _TABLE.sub(lambda found: f"{found[1]}{table}\n{found[2]}", page)


def _printed(command: str) -> str:
    done = CliRunner().invoke(main, command.split())
    assert done.exit_code == 0, done.output
    return done.output


def _write() -> None:
    history = large.run()
    page = PAGE.read_text()
    PAGE.write_text(with_table(with_outputs(page), large.table(history)))
    large.PICTURE.write_text(large.picture(history))


if __name__ == "__main__":
    _write()
