"""The page about the system in a real browser: its parts come one by one, and no secret is among them."""

import pytest
from playwright.sync_api import expect

from tests.support.browser import LOOKS, Look, Visit, picture
from tests.support.console_site import PASSWORDS, ConsoleSite


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_the_parts_come_one_by_one_without_a_secret(visit: Visit, site: ConsoleSite, look: Look) -> None:
    page = visit(look, "/system")
    for part in ("redis", "database", "queues"):
        expect(page.locator(f"#{part} .table").first).to_be_visible()
    content = page.content()
    for secret in (*PASSWORDS.values(), site.environ["INGEST_CONSOLE_SECRET"]):
        assert secret not in content
    assert "INGEST_CONSOLE_SECRET" in content
    assert page.evaluate("document.documentElement.scrollWidth") <= look.width
    picture(page, f"system-{look}")


def test_without_a_script_each_part_is_a_page(visit: Visit) -> None:
    page = visit(Look(scripts=False), "/system")
    page.locator("#redis a").click()
    expect(page.locator("#redis .table")).to_be_visible()


def test_everything_is_checked_on_demand(visit: Visit) -> None:
    page = visit(Look(), "/system")
    page.get_by_role("button", name="Check everything now").click(timeout=60_000)
    expect(page.locator("#check .table")).to_contain_text("INGEST_HOSTS is not set", timeout=60_000)
