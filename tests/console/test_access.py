"""Who looks at a page, by their browser: what other sites can do with it, and what is left when a session ends."""

import re
import time
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from ingest.console.sessions import IDLE, Role, Session, Signer
from tests.support.browser import Look, Visit, Watched, sign_in
from tests.support.console_site import PASSWORDS, ConsoleSite

#: A page that is nobody's, which browsers take for another site.
ELSEWHERE = (
    '<a href="{url}/audit?who=x">link</a><form method="post" action="{url}/logout"><button>lure</button></form>'
)


def lured(page: Page, site: ConsoleSite) -> None:
    page.goto("about:blank")
    page.set_content(ELSEWHERE.format(url=site.url))


def test_a_link_from_elsewhere_finds_the_session_and_a_form_from_there_does_not_end_it(
    visit: Visit, site: ConsoleSite, watched: Watched
) -> None:
    page = visit(Look(), "/audit")
    lured(page, site)
    watched.expect("403")
    page.get_by_role("button", name="lure").click()
    expect(page.locator("h1")).to_have_text("That is not allowed")
    lured(page, site)
    page.get_by_role("link", name="link").click()
    expect(page).to_have_url(re.compile(r"/audit\?who=x$"))
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def somebody(visit: Visit, path: str) -> Page:
    """A page of somebody whose session no other test has."""
    page = visit(Look(role=None), path)
    sign_in(page, "operator")
    return page


def time_passes(page: Page, site: ConsoleSite) -> None:
    """Have the session of a page end as hours do it: its cookie is too old, and its streams end."""
    context = page.context
    (now,) = context.cookies()
    signer = Signer(site.environ["INGEST_CONSOLE_SECRET"].encode(), {Role.OPERATOR: PASSWORDS["operator"]})
    session = signer.read(now["value"], time.time())
    assert session is not None
    long_ago = int(time.time()) - IDLE - 60
    old = Session(session.id, session.role, long_ago, long_ago)
    token = page.locator("input[name=_csrf]").first.get_attribute("value")
    page.request.post("/logout", form={"_csrf": token or ""}, headers={"Origin": site.url}, max_redirects=0)
    context.add_cookies([{"name": now["name"], "value": signer.cookie(old), "url": site.url}])


@pytest.mark.parametrize("path", ["/", "/events?type=open"])
def test_a_live_page_says_that_its_session_has_ended_and_leads_back_to_itself(
    visit: Visit, site: ConsoleSite, watched: Watched, path: str
) -> None:
    page = somebody(visit, path)
    if path != "/":
        page.locator("[data-live]").click()
    watched.expect("401")
    time_passes(page, site)
    assert site.call("open") == 200  # something happens: a stream that has nothing to say notices within 15 s
    page.locator("[data-ended] a").click(timeout=60_000)
    expect(page.locator("#said")).to_contain_text("Your session has ended")
    sign_in(page, "operator")
    assert page.url == f"{site.url}{path}"


@pytest.mark.parametrize("path", ["/handlers", "/audit?action=retry"])
def test_a_page_whose_parts_are_asked_for_leads_to_the_login_and_back(
    visit: Visit, site: ConsoleSite, watched: Watched, path: str
) -> None:
    page = somebody(visit, path)
    watched.expect("401")
    time_passes(page, site)
    if path != "/handlers":  # that one asks by itself
        page.locator("main select[name=action]").select_option("drop")
    page.wait_for_url(re.compile("/login"))
    expect(page.locator("#said")).to_contain_text("Your session has ended")
    sign_in(page, "operator")
    assert urlsplit(page.url).path == urlsplit(path).path


def test_a_form_of_an_open_page_leads_to_the_login_and_back_and_does_nothing(
    visit: Visit, site: ConsoleSite
) -> None:
    page = somebody(visit, "/handler?name=activity")
    time_passes(page, site)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#said")).to_contain_text("Your session has ended")
    sign_in(page, "operator")
    assert page.url == f"{site.url}/handler?name=activity"
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
