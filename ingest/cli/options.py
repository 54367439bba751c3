"""What commands have in common: settings, times, and the options that choose events."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from ingest.copernica.event_types import EventType

if TYPE_CHECKING:
    from ingest.setting_sources import Given
    from ingest.settings import Settings


def _name_file(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    if path is not None:
        ctx.find_root().meta[ENV_FILE] = path


#: Under which the name of the file with settings is kept in the context.
ENV_FILE = "ingest.env-file"
#: The option that every command has, before or behind its name.
env_file = click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    expose_value=False,
    is_eager=True,
    callback=_name_file,
    help="Read settings from this file too; the environment wins.  [default: .env]",
)


def given_settings() -> "Given":
    """What the environment, a file and a running `ingest dev` set; from now on, this process's environment has it.

    Handlers and child processes have their settings from there, whoever set them.

    Raises:
        SettingsError: the file cannot be read, or should not be trusted.
    """
    from ingest.setting_sources import ENVIRONMENT, FILE_VARIABLE, NO_FILE, gather

    context = click.get_current_context(silent=True)
    given = gather(os.environ, None if context is None else context.find_root().meta.get(ENV_FILE))
    os.environ |= {name: value for name, value in given.values.items() if given.origins[name] != ENVIRONMENT}
    os.environ[FILE_VARIABLE] = NO_FILE
    return given


def settings_with(**changes: Any) -> "Settings":
    """The settings from the environment, overridden by what was given on the command line (None: not given).

    Also sets up the log and arms the failpoints, so every command calls this before anything else.

    Raises:
        SettingsError: a value cannot be used.
    """
    from ingest import failpoints, log
    from ingest.settings import Settings  # pydantic: `ingest --help` need not wait for it

    given = given_settings()
    settings = Settings.read(given.values, given.withheld)
    settings = settings.model_copy(update={name: value for name, value in changes.items() if value is not None})
    log.set_up(settings.log_level, settings.log_format)
    if (context := click.get_current_context(silent=True)) is not None:
        log.call_process(context.info_name or "ingest")
    failpoints.arm()
    return settings


class Moment(click.ParamType[datetime]):
    """A date, a time, or how long ago; in UTC unless it names a zone."""

    name = "time"
    _UNITS = MappingProxyType({"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"})

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """To a datetime in UTC."""
        text = str(value).strip()
        try:
            if text[-1:] in self._UNITS and text[:-1].isdigit():
                ago = timedelta(**{self._UNITS[text[-1]]: int(text[:-1])})
                return datetime.now(UTC) - ago
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is not a valid time: write 2026-11-20, 2026-11-20T09:00 or 6h", param, ctx)


MOMENT = Moment()


class Types(click.ParamType[tuple[EventType, ...]]):
    """A comma-separated list of event types."""

    name = "types"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[EventType, ...]:
        """To the types."""
        if isinstance(value, tuple):
            return value
        names = [name.strip().lower() for name in str(value).split(",") if name.strip()]
        for name in names:
            if name not in list(EventType):
                self.fail(f"{name!r} is not an event type; choose from {', '.join(EventType)}", param, ctx)
        return tuple(EventType(name) for name in names)


class Words(click.ParamType[str]):
    """Text to be compared with what is stored, which is Unicode whatever the locale.

    Where the locale has no name for the bytes that were typed, Python stands surrogates in for them, which would
    be found nowhere: nothing would be shown, and nobody erased.
    """

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """To the text that was typed: nearly always UTF-8."""
        typed = str(value).encode("utf-8", "surrogateescape")
        try:
            return typed.decode("utf-8")
        except UnicodeDecodeError:
            return typed.decode("cp1252", "replace")


WORDS = Words()


def which_events(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose events."""
    options = (
        click.option(
            "--type", "types", type=Types(), default=(), help="Only these, comma-separated: open,click,…"
        ),
        click.option("--recipient", type=WORDS, help="Only this address; case does not matter."),
        click.option("--message", type=WORDS, help="Only this message id."),
        click.option("--since", type=MOMENT, help="From: 2026-11-20, 2026-11-20T09:00, or 15m, 6h, 2d ago."),
        click.option("--until", type=MOMENT, help="Before this time; written like --since."),
    )
    for option in reversed(options):
        command = option(command)
    return command
