"""The handlers that the settings name: users' functions, and the built-in ones that forward."""

from ingest.errors import SettingsError
from ingest.settings import Settings
from workers.handlers import registry
from workers.handlers.registry import Handler

#: The handlers of this process, imported before RQ forks, so that no job has to import them again.
_known: dict[str, Handler] = {}


def all_handlers(settings: Settings) -> dict[str, Handler]:
    """Import users' handlers and return them, and the built-in ones that forward, by name.

    Raises:
        SettingsError: a module cannot be imported, or a setting cannot be used.
    """
    handlers = registry.load(settings.handlers)
    if not settings.forward_url:
        return handlers
    from workers.handlers import forward  # noqa: PLC0415  # its HTTP client takes a seventh of a second to load

    for handler in forward.handlers(settings):
        if handler.name in handlers:
            raise SettingsError(f"INGEST_FORWARD_URL: there are two targets {handler.name.partition(':')[2]!r}.")
        handlers[handler.name] = handler
    return handlers


def known_handlers(settings: Settings) -> dict[str, Handler]:
    """The same handlers, imported at the first call only.

    Raises:
        SettingsError: as `all_handlers`.
    """
    if not _known:
        _known.update(all_handlers(settings))
    return _known


def forget_handlers() -> None:
    """Import the handlers again at the next call of `known_handlers`."""
    _known.clear()
