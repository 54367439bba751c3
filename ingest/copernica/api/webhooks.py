"""Webhooks as Copernica keeps them: what triggers one, and what is to be done until the wanted ones are there.

Facts: Copernica's articles on `/webhooks` of its REST API. A webhook is a URL of yours and one trigger; a URL that
is to get five kinds of events is registered five times.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from ingest.copernica.events import EventType

#: What can be waited for. The first three are about profiles and subprofiles.
TRIGGERS = ("create", "update", "delete", "click", "delivery", "open", "bounce", "failure")
#: Copernica's two products, whose mailings a webhook may be limited to.
CALLERS = ("ms", "publisher")

#: Types of events, and the trigger that brings them.
TRIGGER_OF: Mapping[str, str] = {
    **{trigger: trigger for trigger in TRIGGERS},
    **{kind.value: kind.rpartition("-")[2] for kind in EventType if kind.rpartition("-")[2] in TRIGGERS},
}


class Webhook(NamedTuple):
    """One webhook. `callers` empty, `database` and `collection` None: it is not limited to any."""

    id: str
    #: The URL that is called.
    handler: str
    trigger: str
    callers: tuple[str, ...] = ()
    database: int | None = None
    collection: int | None = None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        """From Copernica's JSON, whose names are written in upper or lower case."""
        sent = {str(name).lower(): value for name, value in found.items()}
        callers = sent.get("callers") or ()
        return cls(
            str(sent.get("id", "")),
            str(sent.get("handler") or ""),
            str(sent.get("trigger") or ""),
            tuple(map(str, callers if isinstance(callers, list) else (callers,))) if callers else (),
            _number(sent.get("database")),
            _number(sent.get("collection")),
        )

    @property
    def limits(self) -> str:
        """What it is limited to, in words; empty if to nothing."""
        parts = (
            [f"only {' and '.join(self.callers)}"] if self.callers and set(self.callers) != set(CALLERS) else []
        )
        parts += [f"only database {self.database}"] if self.database is not None else []
        parts += [f"only collection {self.collection}"] if self.collection is not None else []
        return ", ".join(parts)


def _number(value: Any) -> int | None:
    text = str(value).strip() if value else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 and int(text) else None


@dataclass(frozen=True)
class Difference:
    """What is registered, compared with what is wanted for one URL."""

    #: Triggers for which the URL is not registered.
    missing: tuple[str, ...]
    #: Webhooks that are as wanted. More than one for a trigger means that its events come more than once.
    there: tuple[Webhook, ...]
    #: Webhooks with a wanted trigger that call another URL.
    elsewhere: tuple[Webhook, ...]
    #: Webhooks that call the URL for something that is not wanted.
    superfluous: tuple[Webhook, ...]

    @property
    def doubled(self) -> tuple[str, ...]:
        """Triggers for which the URL is registered several times without a limit."""
        free = [hook.trigger for hook in self.there if not hook.limits]
        return tuple(sorted({trigger for trigger in free if free.count(trigger) > 1}))


def difference(url: str, triggers: Collection[str], registered: Iterable[Webhook]) -> Difference:
    """Compare what is registered with `url` being called for each of `triggers`."""
    ours: list[Webhook] = []
    others: list[Webhook] = []
    for hook in registered:
        (ours if same_url(hook.handler, url) else others).append(hook)
    there = {hook.trigger for hook in ours}
    return Difference(
        missing=tuple(trigger for trigger in TRIGGERS if trigger in triggers and trigger not in there),
        there=tuple(hook for hook in ours if hook.trigger in triggers),
        elsewhere=tuple(hook for hook in others if hook.trigger in triggers),
        superfluous=tuple(hook for hook in ours if hook.trigger not in triggers),
    )


def same_url(one: str, other: str) -> bool:
    """Whether two URLs are called alike: scheme and host have no case, and a port may go without saying."""
    return _plain(one) == _plain(other)


def _plain(url: str) -> tuple[object, ...]:
    try:
        parts = urlsplit(url.strip())
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return (url,)
    return parts.scheme, parts.username, parts.password, parts.hostname, port, parts.path or "/", parts.query
