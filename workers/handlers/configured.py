"""The handlers that the settings name: users' functions, and the built-in ones that pass events on."""

from collections.abc import Iterator

from ingest.errors import SettingsError
from ingest.settings import Settings
from workers.handlers import registry
from workers.handlers.registry import Handler

#: The handlers of this process, imported before RQ forks, so that no job has to import them again.
_known: dict[str, Handler] = {}


def all_handlers(settings: Settings) -> dict[str, Handler]:
    """Import users' handlers and return them, and the built-in ones, by name.

    Raises:
        SettingsError: a module cannot be imported, or a setting cannot be used.
    """
    handlers = registry.load(settings.handlers)
    for handler in _built_in(settings):
        if handler.name in handlers:
            kind, _, target = handler.name.partition(":")
            raise SettingsError(
                f"INGEST_FORWARD_URL: there are two targets {target!r}."
                if target
                else f"A handler of yours is called {kind!r}, as the built-in one: rename it with on(name=…)."
            )
        handlers[handler.name] = handler
    return handlers


def _built_in(settings: Settings) -> Iterator[Handler]:
    # Each is imported where it is used: an HTTP client takes a seventh of a second, others may not be installed.
    if settings.forward_url:
        from workers.handlers import forward  # noqa: PLC0415

        yield from forward.handlers(settings)
    if settings.clickhouse_url is not None:
        from workers.handlers import clickhouse  # noqa: PLC0415

        yield from clickhouse.handlers(settings)
    if settings.kafka_url is not None:
        try:
            from workers.handlers import kafka  # noqa: PLC0415
        except ModuleNotFoundError as error:
            if error.name != "confluent_kafka":
                raise
            raise SettingsError("Kafka needs its client: pip install 'copernica-ingest[kafka]'.") from None
        yield from kafka.handlers(settings)


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
