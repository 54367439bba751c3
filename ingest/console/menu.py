"""The menu: which pages stand together, in which order, and the key that leads to each (`g`, then the key)."""

from collections.abc import Iterable
from typing import NamedTuple

from ingest.console.pages import Link

#: Pages by what people look for in them, each with its key and the paths that belong to it. A page that is not
#: named here stands at the end, without a key.
GROUPS: tuple[tuple[tuple[str, str, tuple[str, ...]], ...], ...] = (
    (
        ("/", "n", ()),
        ("/events", "e", ("/event", "/message", "/recipient")),
        ("/mailings", "m", ("/mailing",)),
    ),
    (("/handlers", "h", ("/handler",)), ("/dead-letters", "d", ("/dead-letter",))),
    (("/refusals", "r", ()), ("/quarantine", "q", ())),
    (("/days", "c", ("/day",)), ("/gaps", "p", ())),
    (("/system", "s", ()), ("/audit", "a", ())),
)


#: Where one looks for more about a warning, by how its code begins.
ABOUT = {
    "quarantined": "/quarantine",
    "refusals-": "/refusals",
    "dead-letters": "/dead-letters",
    "no-handlers-worker": "/handlers",
    "paused": "/handlers",
    "days-": "/days",
    "totals-": "/days",
    "gaps-": "/gaps",
    "calls-lost": "/gaps",
    "no-worker": "/system",
    "backlog-": "/system",
    "redis-": "/system",
    "database-": "/system",
    "disk-": "/system",
    "spool-": "/system",
    "workers-": "/system",
}


class Entry(NamedTuple):
    """A page in the menu."""

    path: str
    title: str
    key: str
    #: Pages beside it that the menu does not name: `/event/…` belongs to `/events`.
    also: tuple[str, ...]

    def is_at(self, path: str) -> bool:
        """Whether somebody at this path is on this page, or one that belongs to it."""
        return path == self.path or any(path.startswith(f"{one}/") or path == one for one in self._below)

    @property
    def _below(self) -> tuple[str, ...]:
        return self.also if self.path == "/" else (self.path, *self.also)


def menu_of(links: Iterable[Link]) -> list[list[Entry]]:
    """The pages that there are, in groups."""
    left = {link.path: link.title for link in links}
    groups = [
        [Entry(path, left.pop(path), key, also) for path, key, also in group if path in left] for group in GROUPS
    ]
    groups.append([Entry(path, title, "", ()) for path, title in left.items()])
    return [group for group in groups if group]


def page_about(code: str, links: Iterable[Link]) -> str | None:
    """The page that says more about a warning; None if there is none."""
    there = {link.path for link in links}
    found = (path for beginning, path in ABOUT.items() if code.startswith(beginning) and path in there)
    return next(found, None)
