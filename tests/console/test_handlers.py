"""Handlers in a browser: one fails, is retried, paused, resumed; many letters at once, watched and stopped."""

import re

from playwright.sync_api import expect
from sqlalchemy import text

from tests.support.browser import LOOKS, NARROW, Look, Visit, picture
from tests.support.builders import failure, record
from tests.support.console_site import ConsoleSite
from tests.support.running import until
from workers.handlers import letter_pages
from workers.handlers.dead_letters import Wanted
from workers.handlers.work_queue import WorkQueue
from workers.store.store import Store

#: What somebody may have written as their address.
EVIL = '<img src=x onerror="document.title=1">@example.nl'

#: Keeps others from changing dead letters, until the transaction is rolled back or the connection closed.
HELD = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "LOCK TABLE dead_letters IN EXCLUSIVE MODE",
    "mysql": "SELECT handler FROM dead_letters FOR UPDATE",
}


def letters(site: ConsoleSite, handler: str) -> int:
    return site.ask(lambda store: letter_pages.count(store, Wanted(handler=handler)))


def bury(site: ConsoleSite, handler: str, count: int) -> None:
    """Have a handler that nobody has with so many dead letters."""

    def put(store: Store) -> None:
        queue = WorkQueue(store)
        with store.writing() as connection:
            queue._bury(connection, handler, [failure(record(number), None) for number in range(count)], 7)

    site.ask(put)


def test_a_handler_fails_is_seen_and_its_dead_letter_retried(visit: Visit, site: ConsoleSite) -> None:
    before = letters(site, "hygiene")
    with site.failing():
        assert site.call("bounce", recipient=EVIL) == 200
        until(lambda: letters(site, "hygiene") > before, "a dead letter")
        page = visit(Look(), "/handlers")
        # Whether all of them do depends on what others had it do before.
        expect(page.get_by_role("row", name="hygiene")).to_contain_text(re.compile("Failing|Some fail"))
    page.goto("/dead-letters?handler=hygiene")
    page.locator("tbody a[data-open]").first.click()
    expect(page.locator("h1")).to_contain_text("Dead letter")
    expect(page.locator("main")).to_contain_text(EVIL)
    expect(page.locator("main img")).to_have_count(0)
    expect(page.locator("pre").first).to_contain_text("raise ValueError")
    picture(page, "dead-letter")
    page.get_by_role("button", name="Retry it").click()
    expect(page.get_by_role("status")).to_contain_text("given to its handler again")
    until(lambda: letters(site, "hygiene") == before, "its success")


def test_what_waits_for_another_attempt_is_shown_with_its_error_and_tried_now(
    visit: Visit, site: ConsoleSite
) -> None:
    with site.failing():
        assert site.call("unsubscribe", recipient="wacht@example.nl") == 200
        until(lambda: site.ask(lambda store: WorkQueue(store).retries()), "a failure")
        page = visit(Look(), "/handler?name=suppression")
        expect(page.get_by_role("region", name="Waiting for another attempt")).to_contain_text("no luck with")
    page.get_by_role("button", name="Try all of them now").click()
    expect(page.get_by_role("status")).to_contain_text(re.compile("[1-9] calls?[.]"))
    until(lambda: not site.ask(lambda store: WorkQueue(store).waiting()).get("suppression"), "its success")


def test_a_handler_is_paused_and_resumed(visit: Visit) -> None:
    page = visit(Look(), "/handler?name=activity")
    page.get_by_label("For how long").select_option("1 hour")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("#standing")).to_contain_text("Paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status")).to_contain_text("It goes on.")
    expect(page.locator("#standing")).not_to_contain_text("Paused")


def test_all_that_match_are_dropped_without_a_script_too(visit: Visit, site: ConsoleSite) -> None:
    bury(site, "gone-1", 12)
    page = visit(Look(scripts=False), "/dead-letters?handler=gone-1")
    page.get_by_role("link", name="Drop all that match").click()
    expect(page.locator("main")).to_contain_text("12 dead letters")
    page.get_by_role("button", name="Drop them").click()
    until(lambda: letters(site, "gone-1") == 0, "the end")
    page.reload()
    expect(page.locator("main")).to_contain_text("12 dropped")


def test_a_bulk_retry_is_watched_and_stopped(visit: Visit, site: ConsoleSite) -> None:
    bury(site, "gone-2", 700)
    page = visit(Look(), "/dead-letters/all?do=retry&handler=gone-2")
    with Store.open(site.database) as store, store.engine.connect() as connection:
        connection.execute(text(HELD[connection.dialect.name]))  # so that there is time to stop it
        page.get_by_role("button", name="Retry them").click()
        expect(page.locator(".progress")).to_contain_text("Under way")
        page.get_by_role("button", name="Stop").click(no_wait_after=True)
        page.wait_for_timeout(300)
        connection.rollback()
    expect(page.locator(".progress")).to_contain_text("Stopped")
    left = letters(site, "gone-2")
    assert left in (700, 200)  # some may have waited for the database before it was stopped
    page.goto("/dead-letters/all?do=retry&handler=gone-2")
    page.get_by_role("button", name="Retry them").click()
    expect(page.locator(".progress")).to_contain_text(f"{left} given to their handlers again")


def test_the_pages_fit_a_telephone_and_both_themes(visit: Visit, site: ConsoleSite) -> None:
    bury(site, "a" * 200, 2)
    for look in LOOKS:
        for path in ("/handlers", "/handler?name=hygiene", f"/dead-letters?handler={'a' * 200}", "/tasks"):
            page = visit(look, path)
            assert page.evaluate("document.documentElement.scrollWidth") <= max(look.width, NARROW)
            picture(page, f"{path.strip('/').partition('?')[0]}-{look}")


def test_times_are_typed_in_the_zone_of_the_browser(visit: Visit) -> None:
    page = visit(Look(zone="America/New_York"), "/dead-letters")
    page.get_by_label("Failed from").fill("2026-01-01T12:00")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page).to_have_url(re.compile("tz=America"))
    expect(page.get_by_label("Failed from")).to_have_value(re.compile("2026-01-01T12:00"))
    expect(page.locator("[data-zone]")).to_contain_text("America/New_York")
    page.goto("/gaps?since=2026-01-01T12:00:00&until=2026-01-01T13:00:00")  # as in Amsterdam
    expect(page.get_by_label("From", exact=True)).to_have_value(re.compile("2026-01-01T06:00"))
