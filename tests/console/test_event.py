"""One event in a browser: its handler fails, somebody sees why, and hands it on again; and a person is erased."""

import re

from playwright.sync_api import expect

from tests.support.browser import Look, Visit, Watched, picture
from tests.support.console_site import ConsoleSite
from tests.support.running import until
from workers.handlers.dead_letters import Wanted, find
from workers.operations.event.finding import parsed
from workers.store.filters import Filter
from workers.store.store import Store

HOSTILE = "<script>window.__event=1</script>"


def event_of(site: ConsoleSite, recipient: str) -> str:
    """The path of the page of a recipient's only event, once that is stored."""

    def ids(store: Store) -> list[bytes]:
        return store.ids(Filter(recipient=recipient))

    until(lambda: site.ask(ids), "the event")
    (one,) = site.ask(ids)
    return f"/event/{one.hex()}"


def failed(site: ConsoleSite, recipient: str) -> str:
    """The path of an event that the handler `hygiene` has given up."""
    with site.failing():
        assert site.call("bounce", recipient=recipient, mime=HOSTILE) == 200
        path = event_of(site, recipient)
        wanted = Wanted(delivery_id=parsed(path.rpartition("/")[2]))
        until(lambda: site.ask(lambda store: list(find(store, wanted))), "the dead letter")
    return path


def test_a_failed_event_shows_why_and_is_done_once_it_is_handed_on(site: ConsoleSite, visit: Visit) -> None:
    path = failed(site, "why@example.nl")
    page = visit(Look(), path)
    expect(page.locator(".standing")).to_contain_text("A handler did not take it")
    page.locator(".way summary").first.click()
    expect(page.locator(".way pre").first).to_contain_text("ValueError: no luck with why@example.nl")
    expect(page.locator(".way pre").first).to_contain_text(HOSTILE)
    assert page.evaluate("window.__event") is None
    picture(page, "event-failed")
    page.get_by_role("link", name="Hand to a handler again").click()
    expect(page.get_by_role("radio", name=re.compile("hygiene"))).to_be_checked()
    page.get_by_role("button", name="Hand it on").click()
    expect(page.locator("main [role=status]").first).to_contain_text("given to the handler again")
    # Without the page being loaded again.
    expect(page.locator(".standing")).to_contain_text("Everything is done")
    expect(page.locator(".way > li.done").last).to_contain_text("done")
    picture(page, "event-done")


def test_it_works_without_scripts_and_in_dutch(site: ConsoleSite, visit: Visit) -> None:
    page = visit(Look(language="nl", scripts=False), failed(site, "zonder@example.nl"))
    page.get_by_role("link", name="Opnieuw aan een handler geven").click()
    page.get_by_role("button", name="Doorgeven").click()
    expect(page.locator("main [role=status]").first).to_contain_text("opnieuw aan de handler gegeven")


def test_who_may_only_look_is_offered_nothing_to_do(site: ConsoleSite, visit: Visit, watched: Watched) -> None:
    assert site.call("open", recipient="reader@example.nl") == 200
    path = event_of(site, "reader@example.nl")
    page = visit(Look(role="reader"), path)
    expect(page.locator(".way")).to_contain_text("Stored")
    assert page.locator("main form").count() == 0
    assert page.get_by_role("link", name=re.compile("Erase|Hand to")).count() == 0
    page.goto("/erase?recipient=reader@example.nl")
    assert page.locator("main form").count() == 0
    assert page.get_by_role("table").count() == 0
    watched.expect("403")
    for target in (f"{path}/hand-on", "/erase"):
        assert page.request.post(target, form={"recipient": "a@b.nl", "again": "a@b.nl"}).status == 403


def test_a_person_is_erased_after_their_address_was_typed_again(
    site: ConsoleSite, visit: Visit, watched: Watched
) -> None:
    assert site.call("open", recipient="erased@example.nl") == 200
    path = event_of(site, "erased@example.nl")
    page = visit(Look(), path)
    page.get_by_role("link", name="Erase the person").click()
    expect(page.get_by_role("table")).to_contain_text("Events about the person")
    picture(page, "erase")
    watched.expect("400")
    page.get_by_label("Type the address again").fill("else@example.nl")
    page.get_by_role("button", name="Erase for good").click()
    expect(page.get_by_role("alert").last).to_contain_text("not the same address")
    page.get_by_label("Type the address again").fill("Erased@example.nl")
    page.get_by_role("button", name="Erase for good").click()
    expect(page.locator("main")).to_contain_text("events deleted")
    assert "erased" not in page.url
    watched.expect("404")
    page.goto(path)
    expect(page.locator("h1")).to_have_text("There is no such event")
