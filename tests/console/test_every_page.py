"""What holds for each page of the console, found by its own routes, with attack strings in every field behind it.

A page that is added is tested here by itself, as soon as a link leads to it.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request

from tests.support.attacks import MARK, SEEN, attack
from tests.support.browser import NARROW, THEMES, WIDE, Look, Visitors, picture, violations
from tests.support.console_routes import routes
from tests.support.console_site import ConsoleSite
from tests.support.reach import reached

#: Pages to which no link leads, and how each is reached.
UNLINKED = {
    "/login": "/login",
    "/erase": "/erase",  # links lead there from events; of some that are attacked, nobody could be erased
    "/system/settings": "/system/settings",
    "/message": "/message",
}
#: Bytes and requests that one page may take; without what stays open for events.
MOST_BYTES, MOST_REQUESTS = 150_000, 15
#: What would have come of an attack that is not shown as text.
MADE_BY_ATTACKS = (
    "[onerror], [onload], [onfocus], [src='x'], [href^='javascript:'], [href^='https://evil'], [hx-get^='http'],"
    "main script, main textarea, main [style*='inset']"
)
#: Pages on which the text of attacks is seen in full.
ATTACKED = {
    "/dead-letter/{key}", "/dead-letters", "/event/{id}", "/events", "/handler", "/mailing/{number}",
    "/quarantine/{delivery_id}", "/recipient", "/refusals",
}  # fmt: skip  # a list to be read across
#: What is not there, or empty, or failed.
NOTHING = (
    "/nothing-is-here", "/handler?name=nobody", "/events?text=nothing-is-like-this", "/audit?who=nobody",
    "/dead-letters?error=nothing-is-like-this", "/mailing/1", "/erase",
)  # fmt: skip  # a list to be read across
#: Milliseconds in which a page asks for what its scripts want.
SETTLED = 300


@pytest.fixture(scope="module")
def addresses(site: ConsoleSite, shared_browser: Browser) -> Iterator[dict[str, str]]:
    """An address of each page, once the site is full of attacks."""
    attack(site)
    visitors = Visitors(site, shared_browser)
    page = visitors.page(path="/days")
    begin_a_task(page)
    context = page.context
    yield {
        **UNLINKED,
        **reached(context, site.url, ("/", f"/events?text={SEEN}", "/mailings", "/days", "/system", "/tasks")),
        "/handler": "/handler?name=suppression",  # the others may have done well
    }
    visitors.close()


def begin_a_task(page: Page) -> None:
    """Have there be one to look at."""
    page.goto(f"/day/{datetime.now(UTC).date().isoformat()}")
    page.get_by_role("button", name=re.compile("Compare with the log files")).click()
    page.wait_for_url(re.compile("/task/"))


@pytest.fixture
def address(request: pytest.FixtureRequest, addresses: dict[str, str], name: str) -> str:
    """The address of one page."""
    assert name in addresses, f"no link leads to a page of {name}: {sorted(addresses)}"
    return addresses[name]


@pytest.mark.parametrize("name", sorted(routes()))
def test_a_page_shuts_nobody_out_runs_nothing_and_fits(visitors: Visitors, name: str, address: str) -> None:
    page = visitors.page(Look(role_for(name)), None)
    answer = page.request.get(address)
    if "html" not in answer.headers["content-type"]:
        assert_it_is_only_kept(answer.headers)
        return
    finished: list[Request] = []
    page.on("requestfinished", lambda request: finished.append(request))  # noqa: PLW0108  # it wants a function
    page.goto(address)
    assert urlsplit(page.url).path == urlsplit(address).path, "not the page to be tested"
    page.wait_for_timeout(SETTLED)
    assert_it_is_light(finished)
    assert page.locator("h1").count() == 1
    for width, theme in product((WIDE, NARROW), THEMES):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"wider than {width} pixels"
        assert violations(page) == [], (width, theme)
        picture(page, f"{re.sub('[^a-z]+', '-', name.strip('/')) or 'now'}-{width}-{theme}")
    assert page.evaluate(f"window.{MARK}") is None, "an attack was run"
    assert page.locator(MADE_BY_ATTACKS).count() == 0, "an attack became an element"
    if name in ATTACKED:
        assert re.search(f"{SEEN}[^\\n]{{0,20}}<", page.locator("main").text_content() or ""), (
            "no attack is seen as text"
        )


@pytest.mark.parametrize("name", sorted(routes()))
def test_a_page_is_there_in_dutch_and_without_scripts(visitors: Visitors, name: str, address: str) -> None:
    page = visitors.page(Look(role_for(name), language="nl", scripts=False), None)
    if "html" not in page.request.get(address).headers["content-type"]:
        return
    page.goto(address)
    assert page.locator("html").get_attribute("lang") == "nl"
    assert page.locator("h1").inner_text()


@pytest.mark.parametrize("path", NOTHING)
def test_a_page_that_has_nothing_or_says_what_failed_shuts_nobody_out(visitors: Visitors, path: str) -> None:
    visitors.watched.expect("404")
    page = visitors.page(Look(width=NARROW, language="nl"), path)
    # As if what a script asked for had not come, and the session had ended.
    page.evaluate("for (const one of document.querySelectorAll('[data-failed], [data-ended]')) one.hidden = false")
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        assert violations(page) == [], theme
        picture(page, f"nothing-{re.sub('[^a-z0-9]+', '-', path.strip('/'))}-{theme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW


def role_for(name: str) -> str | None:
    """Who looks at a page: only strangers see the one to sign in, others are led on."""
    return None if name == "/login" else "operator"


def assert_it_is_only_kept(headers: dict[str, str]) -> None:
    """What is no page is a file to keep, which no browser takes for anything else."""
    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff"


def assert_it_is_light(finished: list[Request]) -> None:
    """In all, and in how often something is asked for."""
    sizes = {one.url: one.sizes() for one in finished}
    total = sum(one["responseBodySize"] + one["responseHeadersSize"] for one in sizes.values())
    assert total <= MOST_BYTES, {url: one["responseBodySize"] for url, one in sizes.items()}
    assert len(finished) <= MOST_REQUESTS, [one.url for one in finished]
