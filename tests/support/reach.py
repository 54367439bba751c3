"""An address of each page of the console, by following links as people do."""

import re
from collections import deque
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import BrowserContext

from tests.support.console_routes import routes

#: Addresses that are followed of one kind of page.
EACH = 3


def route_of(path: str) -> str | None:
    """Which of them an address belongs to."""
    return next((name for name, pattern in routes().items() if pattern.fullmatch(path)), None)


def reached(context: BrowserContext, origin: str, start: tuple[str, ...] = ("/",)) -> dict[str, str]:
    """An address of each page that links lead to, from the first one on; nothing is loaded twice."""
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    waiting, seen = deque(start), set(start)
    known = routes()
    while waiting:
        address = waiting.popleft()
        name = next((one for one, pattern in known.items() if pattern.fullmatch(urlsplit(address).path)), None)
        if name is None or counts.get(name, 0) >= EACH:
            continue
        counts[name] = counts.get(name, 0) + 1
        answer = context.request.get(urljoin(origin, address), max_redirects=5)
        if not answer.ok:
            continue
        found.setdefault(name, address)
        if "html" not in answer.headers.get("content-type", ""):
            continue
        for link in links(answer.text()):
            target = urljoin(address, link.replace("&amp;", "&")).partition("#")[0]
            if target.startswith("/") and target not in seen:
                seen.add(target)
                waiting.append(target)
    return found


def links(text: str) -> list[str]:
    """Where a page leads: its links, what its scripts load, and its forms that only ask."""
    forms = (form for form in re.findall(r"<form[^>]*>", text) if 'method="post"' not in form)
    return re.findall(r'\s(?:href|hx-get)="([^"]*)"', text) + re.findall(r'\saction="([^"]*)"', " ".join(forms))
