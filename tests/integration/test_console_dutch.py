"""Dutch pages hold no English of ours: each is asked for in both languages, with something on it."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
import redis

from ingest.console.texts import catalogues
from tests.support.console import console
from tests.support.console_forms import address, fill
from tests.support.console_routes import routes
from tests.support.totals import on_sqlite
from workers.operations import audit
from workers.store.store import Store

#: Elements whose text is code, or what others wrote.
NOT_OURS = {"script", "style", "code", "pre", "kbd"}
#: They have no end.
VOID = {"br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
#: Attributes that are shown or read out.
SHOWN = {"aria-label", "title", "placeholder", "alt", "data-empty", "data-on", "data-off", "data-held"}
#: What English sentences have and Dutch ones do not.
ENGLISH = re.compile(r"\b(the|of|are|not|and|this|with|from|no|it|that|has|what)\b", re.IGNORECASE)


class Texts(HTMLParser):
    """The texts of a page, but for code and for what is marked as English."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._hidden = 0
        self._open: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        hides = tag in NOT_OURS or (tag != "html" and ("lang", "en") in attrs)
        if not self._hidden and not hides:
            self.found += [value.strip() for name, value in attrs if name in SHOWN and value]
        if tag not in VOID:
            self._open.append(hides)
            self._hidden += hides

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and self._open:
            self._hidden -= self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.found.append(" ".join(data.split()))


def texts(page: str) -> set[str]:
    parser = Texts()
    parser.feed(page)
    return set(parser.found)


def english() -> Iterator[str]:
    """Our texts of which the Dutch differs."""
    dutch = {str(one.string) for catalogue in catalogues("nl") for one in catalogue if one.id}
    for message in (one for catalogue in catalogues("nl") for one in catalogue if one.id):
        if isinstance(message.id, str) and message.id not in dutch:
            yield " ".join(message.id.split())


@on_sqlite
@pytest.mark.parametrize("state", ["filled", "empty", "away"])
async def test_no_page_in_dutch_has_a_text_of_ours_in_english(
    database: str, store: Store, redis_url: str, client: redis.Redis, state: str
) -> None:
    environ = {"DATABASE_URL": database, "REDIS_URL": redis_url}
    if state == "filled":
        fill(store, client)
        for action in ("retry", "pause"):
            audit.noted(store, "jan", audit.CONSOLE, action, {"handler": "crm"}, lambda: 1)
    elif state == "away":
        environ = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d", "REDIS_URL": "redis://127.0.0.1:1/0"}
    ours, left = set(english()), {}
    async with console(environ) as visitor:
        for route in sorted(routes().keys() - {"/system/check"}):
            pages = {}
            for language in ("nl", "en"):
                answer = await visitor.get(address(route), headers={"Accept-Language": language})
                pages[language] = texts(await answer.text()) if "html" in answer.content_type else set()
            same = {text for text in pages["nl"] & pages["en"] if len(ENGLISH.findall(text)) > 1}
            if found := (pages["nl"] & ours) | same:
                left[route] = found
    assert left == {}


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<p title="a">b <code>c</code> d<br> e</p>', {"a", "b", "d", "e"}),
        ('<html lang="en"><p lang="en">b <i>c</i></p><p>d</p>', {"d"}),
    ],
)
def test_texts_are_found_but_for_code_and_what_is_marked_as_english(page: str, found: set[str]) -> None:
    assert texts(page) == found
