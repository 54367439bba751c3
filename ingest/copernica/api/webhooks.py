"""Webhooks as Copernica keeps them: what triggers one, and how those registered differ from those wanted.

The facts come from Copernica's articles on `/webhooks` of its REST API. A webhook is a URL of yours and one
trigger; a URL that should get five kinds of events is registered five times.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from ingest.copernica.event_types import EventType

#: What can trigger a webhook. The first three are about profiles and subprofiles.
TRIGGERS = ("create", "update", "delete", "click", "delivery", "open", "bounce", "failure")
#: Copernica's two products; a webhook may be limited to the mailings of one.
CALLERS = ("ms", "publisher")

#: The trigger for each type of event, and for each trigger itself.
TRIGGER_OF: Mapping[str, str] = {
    **{trigger: trigger for trigger in TRIGGERS},
    **{kind.value: kind.rpartition("-")[2] for kind in EventType if kind.rpartition("-")[2] in TRIGGERS},
}


class Webhook(NamedTuple):
    """One webhook. Empty `callers`, or a `database` or `collection` of None, mean no such limit."""

    id: str
    #: The URL that is called.
    handler: str
    trigger: str
    callers: tuple[str, ...] = ()
    database: int | None = None
    collection: int | None = None

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """From an entry of Copernica's list, whose names may be in upper or lower case."""
        fields = {str(name).lower(): value for name, value in entry.items()}
        callers = fields.get("callers") or ()
        return cls(
            str(fields.get("id", "")),
            str(fields.get("handler") or ""),
            str(fields.get("trigger") or ""),
            tuple(map(str, callers if isinstance(callers, list) else (callers,))) if callers else (),
            _number(fields.get("database")),
            _number(fields.get("collection")),
        )

    @property
    def limits(self) -> str:
        """What it is limited to, in words; empty if nothing."""
        parts = (
            [f"only {' and '.join(self.callers)}"] if self.callers and set(self.callers) != set(CALLERS) else []
        )
        parts += [f"only database {self.database}"] if self.database is not None else []
        parts += [f"only collection {self.collection}"] if self.collection is not None else []
        return ", ".join(parts)


def _number(value: Any) -> int | None:
    text = str(value).strip() if value else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 and int(text) else None


@dataclass(frozen=True, slots=True)
class Difference:
    """What is registered, compared with the triggers wanted for one URL."""

    #: Wanted triggers for which the URL is not registered.
    missing: tuple[str, ...]
    #: Webhooks that are as wanted. More than one for a trigger means that its events arrive more than once.
    there: tuple[Webhook, ...]
    #: Webhooks with a wanted trigger that call another URL.
    elsewhere: tuple[Webhook, ...]
    #: Webhooks that call the URL for a trigger that is not wanted.
    superfluous: tuple[Webhook, ...]

    @property
    def doubled(self) -> tuple[str, ...]:
        """Triggers for which the URL is registered several times without a limit."""
        free = [hook.trigger for hook in self.there if not hook.limits]
        return tuple(sorted({trigger for trigger in free if free.count(trigger) > 1}))


def difference(url: str, triggers: Collection[str], registered: Iterable[Webhook]) -> Difference:
    """Compare what is registered with the wish to have `url` called for each of `triggers`."""
    ours: list[Webhook] = []
    others: list[Webhook] = []
    for hook in registered:
        (ours if same_url(hook.handler, url) else others).append(hook)
    covered = {hook.trigger for hook in ours}
    return Difference(
        missing=tuple(trigger for trigger in TRIGGERS if trigger in triggers and trigger not in covered),
        there=tuple(hook for hook in ours if hook.trigger in triggers),
        elsewhere=tuple(hook for hook in others if hook.trigger in triggers),
        superfluous=tuple(hook for hook in ours if hook.trigger not in triggers),
    )


def same_url(one: str, other: str) -> bool:
    """Whether calls to two URLs are the same: the case of scheme and host and a default port do not matter."""
    return _normalised(one) == _normalised(other)


def _normalised(url: str) -> tuple[object, ...]:
    try:
        parts = urlsplit(url.strip())
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return (url,)
    return parts.scheme, parts.username, parts.password, parts.hostname, port, parts.path or "/", parts.query
