"""What a page of another site can do with the console of who is signed in there: link to it, and nothing else."""

import re

from playwright.sync_api import Page, expect

from tests.support.browser import Look, Visit, Watched
from tests.support.console_site import ConsoleSite

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
