"""The tests of this folder look at the console in a real browser: `make test-console` runs them.

They share one site and one browser. `visit(Look(...), path)` opens a page; `page` is the first one, as an operator
sees it. Whatever the browser notices that must not be fails the test: an error in a script, a missing file, a
host that is not ours. `watched.expect("403")` says that this test makes that happen.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import Look, Visit, Visitors, Watched, browser
from tests.support.chromium import NONE, chromium
from tests.support.console_site import ConsoleSite, console_site
from tests.support.mariadb import mariadb
from tests.support.postgres import postgres

#: Seconds that one test may take, the start of the site included.
TIMEOUT = 120
#: What may hold the site's events.
SERVERS: dict[str, Any] = {"sqlite": None, "postgresql": postgres, "mariadb": mariadb}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(TIMEOUT))
            if chromium() is None:
                item.add_marker(pytest.mark.skip(reason=NONE))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say so at the end where the console was not looked at."""
    if chromium() is None:
        terminalreporter.write_line(f"NOT TESTED: the console in a browser; {NONE}", red=True, bold=True)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    """The site that all tests share: on SQLite, or on a server of the kind that $CONSOLE_DATABASE names."""
    server = SERVERS[os.environ.get("CONSOLE_DATABASE", "sqlite")]
    with ExitStack() as stack:
        database = stack.enter_context(server()).new_database("events") if server else None
        yield stack.enter_context(console_site(tmp_path_factory.mktemp("site"), database))


# For this folder only: Playwright's event loop runs while it is open, and asynchronous tests cannot have another.
@pytest.fixture(scope="package")
def shared_browser() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def visitors(site: ConsoleSite, shared_browser: Browser) -> Iterator[Visitors]:
    """Opens pages, and fails the test if a browser noticed what must not be."""
    opened = Visitors(site, shared_browser)
    yield opened
    opened.close()
    assert opened.watched.unexpected() == []


@pytest.fixture
def watched(visitors: Visitors) -> Watched:
    """What the browsers of this test notice."""
    return visitors.watched


@pytest.fixture
def visit(visitors: Visitors) -> Visit:
    """Open a page: `visit(Look(role="reader"), "/events")`."""
    return visitors.page


@pytest.fixture
def page(visitors: Visitors) -> Page:
    """The first page, as an operator sees it at a desk."""
    return visitors.page(Look())
