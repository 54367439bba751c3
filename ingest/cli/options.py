"""What commands have in common: the settings, and text as it was typed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ingest.setting_sources import Given
    from ingest.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def _name_file(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    if path is not None:
        ctx.find_root().meta[ENV_FILE] = path


#: Under which the name of the file with settings is kept in the context.
ENV_FILE = "ingest.env-file"
#: Under which what is set, and by whom, is kept there once it was gathered.
GIVEN = "ingest.given"
#: The option that every command has, before or behind its name.
env_file = click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    expose_value=False,
    is_eager=True,
    callback=_name_file,
    help="Read settings from this file too; the environment wins.  [default: .env]",
)


def json_document(more: str = "") -> Callable[[F], F]:
    """The option `--json` of a command that prints one document, be there anything to tell or not."""
    return click.option("--json", "as_json", is_flag=True, help=f"For a script: one JSON document{more}.")


def json_lines(one: str, more: str = "") -> Callable[[F], F]:
    """The option `--json` of a command that prints an object per line, as it comes to know it; perhaps none."""
    what = f"For a script: JSON lines, an object per {one}, none if there is nothing{more}."
    return click.option("--json", "as_json", is_flag=True, help=what)


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
    if context is not None:
        context.find_root().meta.setdefault(GIVEN, given)
    return given


def settings_with(**changes: Any) -> "Settings":
    """The settings from the environment, overridden by what was given on the command line (None: not given).

    Also sets up the log and arms the failpoints, so every command calls this before anything else. What a command
    asks of a Redis that hangs, it asks once.

    Raises:
        SettingsError: a value cannot be used.
    """
    from ingest import failpoints, log, redis_silence
    from ingest.settings import Settings  # pydantic: `ingest --help` need not wait for it

    given = given_settings()
    settings = Settings.read(given.values, given.withheld)
    settings = settings.model_copy(update={name: value for name, value in changes.items() if value is not None})
    log.set_up(settings.log_level, settings.log_format)
    if (context := click.get_current_context(silent=True)) is not None:
        log.call_process(context.info_name or "ingest")
        redis_silence.ask_once()
        context.call_on_close(redis_silence.ask_always)
    failpoints.arm()
    return settings


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
