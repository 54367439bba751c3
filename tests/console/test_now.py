"""The page Now, refused calls and calls in quarantine in a real browser."""

import re

from playwright.sync_api import expect

from tests.support.browser import NARROW, Look, Visit
from tests.support.console_site import ConsoleSite

HOSTILE = "<img src=x onerror=alert(1)>"


def test_the_page_goes_on_by_itself_while_calls_come_in(visit: Visit, site: ConsoleSite) -> None:
    page = visit(Look())
    expect(page.locator("#live")).to_have_text("Live", timeout=20_000)
    expect(page.locator("#chart canvas")).to_be_visible(timeout=20_000)
    stored = page.locator("#now-tiles div", has_text="Stored in all").locator("dd")
    before = stored.inner_text()
    for _ in range(3):
        assert site.call("open") == 200
    expect(stored).not_to_have_text(before, timeout=30_000)
    page.locator("summary", has_text="as a table").click()
    expect(page.get_by_role("columnheader", name="Minute")).to_be_visible()


def test_keys_lead_through_the_pages_and_are_listed(visit: Visit) -> None:
    page = visit(Look())
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("q")
    expect(page.get_by_role("heading", level=1)).to_have_text("Quarantine")


def test_the_menu_opens_without_a_script_where_there_is_little_room(visit: Visit) -> None:
    page = visit(Look(width=NARROW, scripts=False))
    page.locator("details.menu summary").click()
    page.locator("details.menu").get_by_role("link", name="Refused calls").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Refused calls")


def test_a_refused_call_is_seen_with_its_reason_and_stays_text(visit: Visit, site: ConsoleSite) -> None:
    assert site.raw_call(b"type=open", signed=False, **{"X-Note": HOSTILE}) == 401
    page = visit(Look(), "/refusals")
    section = page.locator("section", has=page.get_by_role("heading", name="no-signature"))
    for _ in range(20):
        if section.count():
            break
        page.wait_for_timeout(500)
        page.reload()
    section.locator("summary").click()
    expect(section).to_contain_text(HOSTILE)


def test_a_call_in_quarantine_is_looked_at_and_dropped(visit: Visit, site: ConsoleSite) -> None:
    assert site.raw_call(b'["' + HOSTILE.encode() + b'"]', "application/json") == 200
    page = visit(Look(), "/quarantine")
    link = page.locator("a[data-open]").first
    for _ in range(40):
        if link.count():
            break
        page.wait_for_timeout(500)
        page.reload()
    link.click()
    expect(page.locator("pre").first).to_contain_text(HOSTILE)
    with page.expect_download() as download:
        page.get_by_role("link", name="Fetch the body").click()
    assert download.value.suggested_filename.endswith(".bin")
    page.get_by_role("link", name=re.compile("Drop it")).click()
    page.get_by_role("button", name="Drop this call").click()
    expect(page.get_by_role("status")).to_have_text("The call is dropped.")
