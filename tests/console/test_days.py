"""Completeness in a real browser: the calendar by keyboard, and a day that is compared while somebody watches."""

import copy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ingest.simulation.fake_api import FakeCopernica
from tests.support.browser import LOOKS, Look, Visit, Visitors, picture
from tests.support.console_site import PATIENCE, ConsoleSite
from tests.support.fake_copernica import TOKEN, fake_copernica
from tests.support.logs import DAY, a_day, contents
from tests.support.running import free_port, ingest, running, until

TODAY = datetime.now(UTC).date()


@pytest.fixture
def visitors(shared_browser: Browser, site: ConsoleSite, tmp_path: Path) -> Iterator[Visitors]:
    """Opens pages of a console beside the site's own that has a token for a faked API of Copernica."""
    for name, content in contents(a_day(60)).items():
        (tmp_path / name).write_bytes(content)
    with_token = copy.copy(site)
    port, with_token.sessions = free_port(), {}
    with_token.url = f"http://127.0.0.1:{port}"
    with fake_copernica(FakeCopernica(tmp_path, TOKEN)) as api:
        environ = {**site.environ, **api, "INGEST_CONSOLE_PORT": str(port)}
        with running(ingest("console"), environ, tmp_path / "console.log", cwd=site.folder):
            until(with_token.is_shown, "the console", PATIENCE)
            opened = Visitors(with_token, shared_browser)
            yield opened
            opened.close()
    assert opened.watched.unexpected() == []


def fits(page: Page, look: Look) -> None:
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= look.width


def test_the_calendar_is_walked_by_keyboard(visit: Visit, site: ConsoleSite) -> None:
    site.call("open")
    page = visit(Look(), f"/days?until={TODAY:%Y-%m}")
    until(lambda: bool(page.reload() and page.locator("a[data-day]").count()), "a day")
    today = page.locator(f'a[data-day][href="/day/{TODAY}"]')
    today.focus()
    if page.locator("a[data-day]").count() > 1:
        page.keyboard.press("ArrowLeft")
        expect(page.locator(f'a[data-day][href="/day/{TODAY - timedelta(days=1)}"]')).to_be_focused()
        page.keyboard.press("ArrowRight")
    expect(today).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/day/{TODAY}")
    expect(page.locator(".standing")).to_contain_text("The day is not over")


def test_a_day_is_compared_while_somebody_watches(visit: Visit) -> None:
    page = visit(Look(), f"/day/{DAY}")
    page.get_by_role("button", name="Compare with the log files", exact=True).click()
    page.wait_for_url("**/task/*")
    expect(page.locator(".progress")).to_contain_text("Done", timeout=60_000)  # without being loaded again
    page.get_by_role("link", name="Back to where it was begun").click()
    expect(page.locator(".standing")).to_contain_text("Everything in Copernica's log files is in the store")
    expect(page.locator("#runs + .table")).to_contain_text("complete")
    picture(page, "day")
    page.goto(f"/days?until={DAY:%Y-%m}")
    expect(page.locator(f'a[href="/day/{DAY}"] .mark')).to_have_text("↺")
    picture(page, "days")
    page.goto("/gaps")
    page.locator("input[name=since]").fill(f"{DAY}T10:00:00")
    page.locator("input[name=until]").fill(f"{DAY}T11:00:00")
    page.get_by_role("button", name="See what is missing").click()
    page.wait_for_url("**/task/*")
    page.get_by_role("link", name="Back to where it was begun").click()
    expect(page.get_by_role("button", name="Fetch what is missing, and store it")).to_be_visible()


def test_who_may_only_look_is_offered_nothing(visit: Visit) -> None:
    page = visit(Look(role="reader"), f"/day/{DAY}")
    expect(page.get_by_role("button", name="Compare with the log files")).to_have_count(0)
    page.goto("/gaps")
    expect(page.locator("form[action='/gaps/period'], form[action='/gaps/fill']")).to_have_count(0)


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_the_pages_fit_the_screen(visit: Visit, look: Look) -> None:
    page = visit(look, "/days")
    for path in ("/days", f"/day/{DAY}", "/gaps"):
        page.goto(path)
        fits(page, look)


def test_the_day_can_be_compared_without_a_script(visit: Visit) -> None:
    page = visit(Look(scripts=False), f"/day/{DAY}")
    page.locator("form[action$='/reconcile'] button").click()
    page.wait_for_url("**/task/*")
