"""Searching and watching events in a real browser, and the pages of a message and of a recipient."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import LOOKS, Look, Visit, picture
from tests.support.console_site import ConsoleSite
from tests.support.running import until
from workers.store.filters import Filter


def stored(site: ConsoleSite, message: str, number: int) -> None:
    """Wait until a message has so many events in the store."""
    until(lambda: len(site.ask(lambda store: store.ids(Filter(message_id=message)))) >= number, "the events")


@pytest.fixture(scope="module")
def message(site: ConsoleSite) -> str:
    """A message that was delivered, opened and clicked."""
    about = {
        "id": "searched",
        "recipient": "Zoë.Search@example.nl",
        "mailing": 5151,
        "tags": ["spring", "<b>sale</b>"],
    }
    site.call("delivery", code=250, description="2.0.0 OK", **about)
    site.call("open", useragent="Mozilla/5.0 (iPhone)", **about)
    site.call("click", original="https://example.nl/?<script>alert(1)</script>", **about)
    stored(site, "searched", 3)
    return "searched"


def rows(page: Page) -> int:
    return page.locator("[data-rows] tr").count()


def test_a_search_shows_what_fits_as_one_types(visit: Visit, message: str) -> None:
    page = visit(Look(), "/events?mailing=5151")
    assert rows(page) == 3
    page.get_by_label("Text anywhere").press_sequentially("example.nl/?<script", delay=20)
    expect(page.locator("[data-rows] tr")).to_have_count(1)
    assert "text=example.nl" in page.url
    assert "recipient=" not in page.url
    page.get_by_label("Text anywhere").fill("")
    page.get_by_role("checkbox", name="Opened").check()
    expect(page.locator("[data-rows] tr")).to_have_count(1)
    page.go_back()
    assert "type=open" not in page.url


def test_keys_walk_through_the_rows_and_open_one(visit: Visit, message: str) -> None:
    page = visit(Look(), "/events?mailing=5151")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.matches('[data-rows] tr:first-child a[data-open]')")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.matches('[data-search]')")


def test_columns_are_remembered(visit: Visit, message: str) -> None:
    page = visit(Look(), "/events?mailing=5151")
    page.locator("summary", has_text="Columns").click()
    page.get_by_role("checkbox", name="Profile", exact=True).check()
    expect(page.get_by_role("columnheader", name="Profile")).to_be_visible()
    page.goto("/events")
    expect(page.get_by_role("columnheader", name="Profile")).to_be_visible()


def test_new_events_appear_while_one_watches(visit: Visit, site: ConsoleSite) -> None:
    page = visit(Look(), "/events?recipient=live@example.nl")
    page.get_by_role("button", name="Watch live").click()
    expect(page.locator("[data-live-state]")).to_contain_text("Live")
    site.call("open", recipient="live@example.nl", id="live1")
    expect(page.locator("[data-rows] tr")).to_have_count(1)
    site.call("open", recipient="somebody.else@example.nl", id="live2")
    site.call("click", recipient="live@example.nl", id="live3", original="https://example.nl/live")
    expect(page.locator("[data-rows] tr")).to_have_count(2)
    expect(page.locator("[data-rows] tr").first).to_contain_text("https://example.nl/live")
    page.get_by_role("button", name="Watch live").click()
    expect(page.get_by_role("button", name="Watch live")).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize("look", LOOKS, ids=str)
@pytest.mark.parametrize(
    "path", ["/events?mailing=5151", "/message/searched", "/recipient?address=zoë.search@example.nl"]
)
def test_the_pages_fit_every_screen(visit: Visit, message: str, look: Look, path: str) -> None:
    page = visit(look, path)
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= look.width
    assert page.locator("a[data-open]").count() == 3
    picture(page, f"{re.split(r'[/?]', path)[1]}-{look}")


def test_without_a_script_it_is_searched_and_paged_as_well(visit: Visit, message: str) -> None:
    page = visit(Look(scripts=False), "/events")
    page.get_by_role("searchbox", name="Mailing", exact=True).fill("5151")
    page.get_by_role("button", name="Search").click()
    assert rows(page) == 3
    page.locator("[data-search]").fill("ZOË.search@example.nl")
    page.locator("[data-search]").press("Enter")
    assert page.locator("h1").inner_text() == "ZOË.search@example.nl"
    page.get_by_role("link", name="searched").first.click()
    assert page.locator(".timeline > li:not(.gap)").count() == 3


def test_who_may_only_look_is_not_offered_to_erase(visit: Visit, message: str) -> None:
    address = "/recipient?address=zoë.search@example.nl"
    assert visit(Look(), address).get_by_text("Erase this person").count() == 1
    assert visit(Look(role="reader"), address).get_by_text("Erase this person").count() == 0


def test_an_export_is_downloaded(visit: Visit, message: str) -> None:
    page = visit(Look(), "/events?mailing=5151")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("delivery_id,type")
