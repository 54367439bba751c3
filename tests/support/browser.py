"""A real browser for tests of the console: every fault that it notices fails the test that made it happen."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    sync_playwright,
)

from tests.support.chromium import chromium
from tests.support.console_site import PASSWORDS, ConsoleSite

#: It tests pages of ours on this machine: no sandbox, which containers do not allow; and it calls nobody at home.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Milliseconds that a page may take for anything: the machine may be busy.
PATIENCE = 15_000
#: Pixels: of a small telephone, and of a desk.
NARROW, WIDE = 360, 1440
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
#: What a browser says of a request that the page itself gave up: leaving it ends its stream of events.
GIVEN_UP = "net::ERR_ABORTED"


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser without windows, for as long as the block runs."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        try:
            yield started
        finally:
            started.close()


class Look(NamedTuple):
    """How somebody looks at the console."""

    role: str | None = "operator"
    language: str = "en"
    dark: bool = False
    width: int = WIDE
    scripts: bool = True
    zone: str = "Europe/Amsterdam"

    def __str__(self) -> str:
        """As it is called among the tests."""
        return f"{self.language}-{'dark' if self.dark else 'light'}-{self.width}"


#: Each language, theme and width at least once; and all that depends on two of them.
LOOKS = (
    Look(),
    Look(dark=True),
    Look(width=NARROW),
    Look(width=NARROW, dark=True, language="nl"),
)


@dataclass
class Watched:
    """What a browser notices that must not be."""

    origin: str
    faults: list[str] = field(default_factory=list)
    #: Expressions; what one of them fits is expected by the test.
    expected: list[str] = field(default_factory=list)

    def expect(self, expression: str) -> None:
        """Have one kind of fault belong to this test: `403` where it does what is refused."""
        self.expected.append(expression)

    def watch(self, context: BrowserContext) -> None:
        """Notice everything that happens in all pages of a context."""
        context.on("console", self._said)
        context.on("weberror", lambda error: self.faults.append(f"error in a script: {error.error}"))
        context.on("request", self._asked)
        context.on("response", self._answered)
        context.on("requestfailed", self._failed)

    def unexpected(self) -> list[str]:
        """The faults that the test did not announce."""
        return [fault for fault in self.faults if not any(re.search(one, fault) for one in self.expected)]

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type} in the browser's log: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "data:", "blob:")):
            self.faults.append(f"asked somebody else: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.faults.append(f"answered {response.status}: {response.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != GIVEN_UP:
            self.faults.append(f"no answer ({request.failure}): {request.url}")


#: Opens a page for a test: `visit(Look(role="reader"), "/events")`.
Visit = Callable[..., Page]


class Visitors:
    """Opens pages of one site, each in a context of its own: nobody shares a session unless they sign in alike."""

    def __init__(self, site: ConsoleSite, browser: Browser) -> None:
        self.site, self._browser = site, browser
        self.watched = Watched(site.url)
        self._opened: list[BrowserContext] = []

    def page(self, look: Look = LOOKS[0], path: str | None = "/") -> Page:
        """A page at a path, shown to somebody who looks like that; nobody is signed in where the role is None."""
        context = self._browser.new_context(
            base_url=self.site.url,
            viewport={"width": look.width, "height": 900},
            color_scheme="dark" if look.dark else "light",
            locale="nl-NL" if look.language == "nl" else "en-GB",
            timezone_id=look.zone,
            java_script_enabled=look.scripts,
            reduced_motion="reduce",
            storage_state=self._session_of(look.role),
        )
        context.set_default_timeout(PATIENCE)
        self._opened.append(context)
        self.watched.watch(context)
        page = context.new_page()
        if path is not None:
            page.goto(path)
        return page

    def close(self) -> None:
        """Close all pages."""
        for context in self._opened:
            context.close()

    def _session_of(self, role: str | None) -> Any:
        """What a browser keeps of somebody who signed in: done once for each role and site."""
        if role is None:
            return None
        if role not in self.site.sessions:
            context = self._browser.new_context(base_url=self.site.url)
            page = context.new_page()
            page.goto("/")
            sign_in(page, role)
            self.site.sessions[role] = context.storage_state()
            context.close()
        return self.site.sessions[role]


def sign_in(page: Page, role: str) -> None:
    """Fill in the login that a page shows, if it shows one, and send it."""
    password = page.locator("input[type=password]")
    if password.count():
        password.fill(PASSWORDS[role])
        password.press("Enter")
        page.wait_for_url(lambda url: urlsplit(url).path != "/login")


def picture(page: Page, name: str) -> None:
    """Keep a picture of a page in the folder that $CONSOLE_PICTURES names, if it names one."""
    if folder := os.environ.get("CONSOLE_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def violations(page: Page) -> list[str]:
    """What axe-core finds, each with the first places."""
    page.evaluate(axe())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}" for one in found]


def axe() -> str:
    """Its script, which a package for tests brings; $AXE names a newer one."""
    if named := os.environ.get("AXE"):
        return Path(named).read_text(encoding="utf-8")
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
