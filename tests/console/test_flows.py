"""What people do with the console, each in a real browser from its beginning to its end."""

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from ingest.console.access import ASKING, OWN_SESSION
from tests.support.browser import Look, Visit, Watched, picture
from tests.support.console_site import LOG_FILES, PASSWORDS, ConsoleSite
from tests.support.running import until

READER, NOBODY = Look(role="reader"), Look(role=None)


def stored(site: ConsoleSite, recipient: str) -> str:
    """The delivery id of the newest event of a recipient, once it is stored."""

    def look() -> str:
        rows = site.ingest("events", "--recipient", recipient, "--format", "jsonl").splitlines()
        found = re.search(r'"delivery_id":\s*"([0-9a-f]{24})"', rows[0]) if rows else None
        return found[1] if found else ""

    return until(look, f"an event of {recipient}")


def test_somebody_signs_in_after_a_wrong_password_and_out_again(visit: Visit, watched: Watched) -> None:
    page = visit(NOBODY, "/days")
    expect(page).to_have_url(re.compile(r"/login\?"))
    page.get_by_label("Password").fill("not the right one")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not the password")
    watched.expect("40[13]")  # for the wrong one
    page.get_by_label("Password").fill(PASSWORDS["operator"])
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile("/days$"))  # where they wanted to go
    page.get_by_role("button", name="Sign out").click()
    page.goto("/days")
    expect(page).to_have_url(re.compile("/login"))


def test_a_recipient_is_searched_and_an_event_opened(visit: Visit, site: ConsoleSite) -> None:
    recipient = "zoek.mij+test@example.nl"
    assert site.call("delivery", recipient=recipient) == 200
    delivery_id = stored(site, recipient)
    page = visit(Look(), "/events")
    page.get_by_role("searchbox", name="Recipient").fill(recipient)
    row = page.locator("[data-rows] tr").filter(has_text=recipient)
    expect(row).to_have_count(1)
    expect(page).to_have_url(re.compile("recipient=~"))
    row.locator("a[data-open]").click()
    expect(page).to_have_url(re.compile(f"/event/{delivery_id}"))
    expect(page.locator("main")).to_contain_text(recipient)
    picture(page, "event")


def test_the_search_box_of_every_page_finds_a_person_by_keyboard(visit: Visit, site: ConsoleSite) -> None:
    recipient = "slash@example.nl"
    assert site.call("open", recipient=recipient) == 200
    stored(site, recipient)
    page = visit(Look(), "/system")
    page.keyboard.press("/")
    page.keyboard.type(recipient)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/recipient"))
    expect(page.locator("main")).to_contain_text(recipient)


def test_an_open_arrives_while_somebody_watches(visit: Visit, site: ConsoleSite) -> None:
    page = visit(Look(), "/events")
    page.locator("[data-live]").click()
    expect(page.locator("[data-live]")).to_have_attribute("aria-pressed", "true")
    for number in range(3):
        recipient = f"live{number}@example.nl"
        assert site.call("open", recipient=recipient) == 200
        expect(page.locator("[data-rows] tr").filter(has_text=recipient)).to_have_count(1)


def test_the_page_now_counts_what_comes_in_without_being_loaded_again(visit: Visit, site: ConsoleSite) -> None:
    page = visit(Look(), "/")
    page.evaluate("window.notLoadedAgain = true")
    before = page.locator("main").inner_text()
    for _ in range(30):
        assert site.call("delivery") == 200
    page.wait_for_function("before => document.querySelector('main').innerText !== before", arg=before)
    assert page.evaluate("window.notLoadedAgain")


@pytest.mark.parametrize("look", [Look(), Look(scripts=False)], ids=["scripts", "none"])
def test_a_day_is_run(visit: Visit, site: ConsoleSite, look: Look) -> None:
    url = f"http://127.0.0.1:{site.port}/copernica"
    site.ingest("simulate", "--events", "20", "--url", url, "--with-logfiles", str(site.folder / LOG_FILES))
    today = datetime.now(UTC).date().isoformat()
    page = visit(look, f"/day/{today}")
    page.get_by_role("button", name=re.compile("Compare with the log files")).click()
    expect(page).to_have_url(re.compile("/task/"))

    def ended() -> bool:
        if not look.scripts:
            page.reload()
        return "Under way" not in page.locator("main").inner_text()

    until(ended, "the end of the task")
    picture(page, f"task-{look.scripts}")
    page.goto(f"/day/{today}")
    expect(page.locator("main")).to_contain_text(re.compile("again"))


def test_who_may_only_look_sees_no_button_and_can_force_none(
    visit: Visit, site: ConsoleSite, watched: Watched
) -> None:
    today = datetime.now(UTC).date().isoformat()
    page = visit(READER, f"/day/{today}")
    only_asking = "".join(f":not([action='{path}'])" for path in sorted(OWN_SESSION | ASKING))
    assert page.locator(f"form[method=post]{only_asking}").count() == 0
    token = page.locator("input[name=_csrf]").first.get_attribute("value")
    answer = page.request.post(
        f"/day/{today}/reconcile",
        form={"_csrf": token or ""},
        headers={"Origin": site.url, "Sec-Fetch-Site": "same-origin"},
    )
    assert answer.status == 403
    assert "look" in answer.text()
    watched.expect("403")


def another_site(page: Page, body: str) -> None:
    """Show a page of somebody else's site in this browser, in which the visitor is signed in."""
    page.route("http://evil.example/*", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto("http://evil.example/")


def test_a_form_of_another_site_does_nothing(visit: Visit, site: ConsoleSite, watched: Watched) -> None:
    page = visit(Look())
    watched.expect("evil.example|40[13]")
    form = f'<form method="post" action="{site.url}/gaps/fill"><input name="_csrf" value="x"></form>'
    another_site(page, f"{form}<script>document.forms[0].submit()</script>")
    page.wait_for_url(re.compile(re.escape(site.url)))
    expect(page.locator("h1")).to_have_text(re.compile("not allowed|Sign in"))


def test_another_site_cannot_frame_the_console(visit: Visit, site: ConsoleSite, watched: Watched) -> None:
    page = visit(Look())
    watched.expect("evil.example|frame|chrome-error|ERR_BLOCKED|sign|40[13]")
    another_site(page, f'<iframe src="{site.url}/"></iframe>')
    page.wait_for_timeout(500)
    assert all("Copernica webhooks" not in frame.content() for frame in page.frames if frame != page.main_frame)


def test_a_session_that_has_ended_leads_to_the_login_and_back(visit: Visit) -> None:
    page = visit(Look(), "/days")
    page.context.clear_cookies()
    page.goto("/gaps?state=open")
    expect(page).to_have_url(re.compile("/login"))
    page.get_by_label("Password").fill(PASSWORDS["operator"])
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/gaps\?state=open$"))


def test_the_language_and_the_theme_are_switched_and_stay(visit: Visit) -> None:
    page = visit(Look())
    page.get_by_role("link", name="Nederlands").click()
    expect(page.locator("html")).to_have_attribute("lang", "nl")
    assert "lang=" not in page.url
    page.goto("/days")
    expect(page.locator("html")).to_have_attribute("lang", "nl")
    page.locator("[data-theme-switch]").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
