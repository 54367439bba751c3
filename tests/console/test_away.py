"""What is seen where neither Redis nor the database can be reached."""

from collections.abc import Iterator
from contextlib import suppress
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser

from tests.support.browser import NARROW, THEMES, picture, violations
from tests.support.running import free_port, ingest, running, until

AWAY = "127.0.0.1:1"
#: Pages of each kind: of Redis, of the database, of both.
PAGES = ("/", "/events", "/mailings", "/handlers", "/days", "/dead-letters", "/system")


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a console is that has nothing but itself."""
    folder, port = tmp_path_factory.mktemp("lonely"), free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {
        "DATABASE_URL": f"postgresql://u:p@{AWAY}/d",
        "REDIS_URL": f"redis://{AWAY}/0",
        "INGEST_DATA_DIR": str(folder),
        "INGEST_CONSOLE_PORT": str(port),
    }

    def is_shown() -> bool:
        with suppress(OSError), urlopen(f"{url}/healthz", timeout=5):
            return True
        return False

    with running(ingest("console"), environ, folder / "console.log", cwd=folder):
        until(is_shown, "the console")
        yield url


@pytest.mark.parametrize("path", PAGES)
def test_a_page_says_that_all_is_away_and_shuts_nobody_out(
    shared_browser: Browser, lonely: str, path: str
) -> None:
    context = shared_browser.new_context(
        base_url=lonely, locale="nl-NL", viewport={"width": NARROW, "height": 900}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(path)
    assert path == "/system" or AWAY in page.locator("main").inner_text()
    assert page.locator("h1").count() == 1
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        assert violations(page) == [], theme
        picture(page, f"away-{path.strip('/') or 'now'}-{theme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW
    context.close()
