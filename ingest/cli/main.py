"""The `ingest` command. Each command reads the settings, calls one function and prints the result."""

import os
from typing import Any

import click
from click.exceptions import Exit

from ingest import __version__, shown
from ingest.cli import (
    alerts,
    config,
    diagnostics,
    events,
    garbage,
    handlers,
    metrics,
    reconcile,
    run,
    simulation,
    streams,
    webhooks,
)
from ingest.cli.options import env_file
from ingest.errors import IngestError

#: What is taken from the mode of everything that we and our children create: all rights of others. Calls, events
#: and keys lie in these files.
UMASK = 0o077


class Command(click.Group):
    """Turns our errors into one sentence and an exit code."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the program: see to its output and its files first."""
        streams.set_up()
        os.umask(UMASK)
        with garbage.rarely():
            return super().main(*arguments, **options)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the command line, which prints if it asks for help."""
        try:
            with streams.reader_may_leave():
                return super().make_context(info_name, args, parent, **extra)
        except IngestError as error:
            _say(error)
            raise Exit(error.exit_code) from None
        raise Exit(0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an `IngestError` ends it with its sentence and its exit code."""
        try:
            with streams.reader_may_leave():
                return super().invoke(ctx)
        except IngestError as error:
            _say(error)
            ctx.exit(error.exit_code)


def _say(error: IngestError) -> None:
    click.echo(f"ingest: {shown.escaped(shown.without_secrets(str(error)))}", err=True)


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ingest")
@env_file
def main() -> None:
    """Take every Copernica webhook at once, keep it safe, and process the backlog at your own pace."""


def _with_env_file(command: click.Command) -> click.Command:
    """The command, and all below it, with the option `--env-file`."""
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _with_env_file(below)
    return env_file(command)


GROUPS = (run, diagnostics, alerts, metrics, config, events, handlers, reconcile, simulation, webhooks)
for command in (command for group in GROUPS for command in group.COMMANDS):
    main.add_command(_with_env_file(command))
