"""How every page looks: to a browser, to a screen reader, on a small screen, in both languages and themes."""

import pytest

from tests.support.browser import LOOKS, Look, Visit, picture


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_the_first_page_is_shown_and_fits_the_screen(visit: Visit, look: Look) -> None:
    page = visit(look)
    assert page.locator("html").get_attribute("lang") == look.language
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= look.width
    picture(page, f"now-{look}")
