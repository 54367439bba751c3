"""Errors reported to Sentry, where `SENTRY_DSN` is set: what went wrong where, and nothing of any call.

A report has what the log says of an error, and its traceback without the values of variables. Bodies, headers and
users are never in it; addresses are cut out of messages, since the errors of users' handlers may quote them.
"""

import logging
import os
import re
import sys
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ingest import __version__, shown
from ingest.errors import SettingsError
from ingest.settings import Settings

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

#: Seconds that a process which ends waits for its reports to be sent.
FLUSH_SECONDS = 2.0
#: Characters of a message that are reported.
MESSAGE_MAX = 500
#: What a report may have; everything else, of whatever release of the library, goes.
KEPT = frozenset(
    {
        "event_id", "timestamp", "level", "logger", "platform", "release", "environment", "server_name", "sdk",
        "exception", "logentry", "message", "tags", "fingerprint", "contexts", "type", "threads", "modules",
    }
)  # fmt: skip  # a list to be read across
#: What a stack frame may have: not the values of its variables.
FRAME = frozenset({"filename", "abs_path", "function", "module", "lineno", "in_app", "pre_context", "context_line",
                   "post_context"})  # fmt: skip
#: What it may tell of its surroundings.
CONTEXTS = frozenset({"runtime", "os", "trace"})

#: Anything with an @ in it, also as it is written in a form.
_ADDRESS = re.compile(r"[^\s<>\"'=&?/:,;()\[\]]+(?:@|%40)[^\s<>\"'&,;()\[\]]+")

log = logging.getLogger(__name__)


def require(settings: Settings) -> None:
    """Make sure that what Sentry needs is installed, if it is wanted.

    Raises:
        SettingsError: it is not.
    """
    if settings.sentry_dsn is not None and find_spec("sentry_sdk") is None:
        raise SettingsError(
            "SENTRY_DSN is set, but what it needs is not installed: pip install 'copernica-ingest[sentry]'."
        )


def set_up(settings: Settings, process: str) -> None:
    """Report errors of this process from now on, if that is wanted.

    Raises:
        SettingsError: SENTRY_DSN cannot be used, or what it needs is not installed.
    """
    require(settings)
    if settings.sentry_dsn is None:
        return
    _begin(settings, process)
    # A work-horse has a connection of its own: with that of its parent, both would write into it.
    os.register_at_fork(after_in_child=partial(_begin, settings, process))


def _begin(settings: Settings, process: str) -> None:
    import sentry_sdk  # noqa: PLC0415  # a fifth of a second, for those who want it
    from sentry_sdk.integrations.dedupe import DedupeIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.threading import ThreadingIntegration  # noqa: PLC0415
    from sentry_sdk.utils import BadDsn  # noqa: PLC0415

    try:
        sentry_sdk.init(
            dsn=settings.sentry_dsn,
            release=f"copernica-ingest@{__version__}",
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            auto_enabling_integrations=False,
            default_integrations=False,
            integrations=[
                LoggingIntegration(level=None, event_level=logging.ERROR),
                ExcepthookIntegration(),
                ThreadingIntegration(),
                DedupeIntegration(),
            ],
            before_send=strip,
            shutdown_timeout=FLUSH_SECONDS,
        )
    except BadDsn:
        raise SettingsError("SENTRY_DSN cannot be used: copy it from the project's settings in Sentry.") from None
    sentry_sdk.set_tag("process", process)


def flush() -> None:
    """Before a process ends that ends at once: let its reports be sent."""
    if (library := sys.modules.get("sentry_sdk")) is not None:
        library.flush(FLUSH_SECONDS)


def strip(report: "Event", _hint: "Hint") -> "Event":
    """A report without anything personal."""
    raw: dict[str, Any] = dict(report)
    kept = {name: value for name, value in raw.items() if name in KEPT}
    for failure in (kept.get("exception") or {}).get("values") or ():
        failure["value"] = _clean(failure.get("value"))
        _strip_frames(failure)
    for thread in (kept.get("threads") or {}).get("values") or ():
        _strip_frames(thread)
    if isinstance(entry := kept.get("logentry"), dict):
        said = entry.get("formatted") or entry.get("message")
        kept["logentry"] = {"message": _clean(entry.get("message")), "formatted": _clean(said)}
    if "message" in kept:
        kept["message"] = _clean(kept["message"])
    kept["contexts"] = {name: told for name, told in (kept.get("contexts") or {}).items() if name in CONTEXTS}
    return kept  # type: ignore[return-value]  # a dictionary all the same


def _strip_frames(holder: dict[str, Any]) -> None:
    stack = holder.get("stacktrace") or {}
    stack["frames"] = [
        {name: value for name, value in frame.items() if name in FRAME} for frame in stack.get("frames") or ()
    ]


def _clean(text: object) -> str:
    cut = shown.without_secrets(str(text))[:MESSAGE_MAX] if text is not None else ""
    return shown.escaped(_ADDRESS.sub(shown.HIDDEN, cut))
