"""docs/reference, made of what the code says: `make reference` writes it, a test compares it.

Each module makes one page. What a page says beside that is in its module, too, so that nobody edits a page that is
written again.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.reference import api, commands, errors, events, exit_codes, http, openapi, settings, tables
from tests.support.source import ROOT

FOLDER = ROOT / "docs" / "reference"
#: What makes each file.
PAGES: Mapping[str, Callable[[], str]] = {
    "api.md": api.made,
    "commands.md": commands.made,
    "events.md": events.made,
    "exit-codes.md": exit_codes.made,
    "errors.md": errors.made,
    "http.md": http.made,
    "openapi.yaml": openapi.made,
    "settings.md": settings.made,
    "tables.md": tables.made,
}


def write(folder: Path = FOLDER) -> None:
    """Write all pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, made in PAGES.items():
        (folder / name).write_text(made(), encoding="utf-8")
