"""The command that shows pages in a browser: console."""

import sys

import click

from ingest import redis_silence
from ingest.cli import asking
from ingest.cli.options import GIVEN
from ingest.cli.run import observe, started
from ingest.errors import SettingsError


@click.group(invoke_without_command=True)
@click.option("--host", help="Address to listen at.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen at.  [default: 8001]")
@click.option("--listening", type=int, hidden=True)
@click.pass_context
def console(ctx: click.Context, host: str | None, port: int | None, listening: int | None) -> None:
    """Show everything in a browser: what is going on, events, mailings, handlers, what is missing."""
    if ctx.invoked_subcommand is not None:
        return
    settings = started(console_host=host, console_port=port)
    redis_silence.ask_once()
    observe(settings, "console")
    try:
        from ingest.console import server
        from ingest.console.origins import Origins
    except ModuleNotFoundError as error:
        if error.name not in ("jinja2", "babel"):
            raise
        raise SettingsError(
            "The console needs what is not installed: pip install 'copernica-ingest[console]'."
        ) from None
    changes = {"console_host": host, "console_port": port}
    named = {name: value for name, value in changes.items() if value is not None}
    server.run(settings, listening, Origins(ctx.find_root().meta[GIVEN], named))


@console.command("hash-password")
def hash_password() -> None:
    """Print the hash of a password, for INGEST_CONSOLE_PASSWORD; asks for it twice, or reads it from a pipe."""
    from ingest.password_hash import PasswordHash, is_meant
    from ingest.setting_values import good_password

    if asking.somebody_is_there():
        password = click.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True)
    else:
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if is_meant(password):
        raise click.UsageError("That is a hash already, or looks like one: give the password itself.")
    try:
        good_password(password)
    except ValueError as error:
        raise click.UsageError(f"The password cannot be used: {error}.") from None
    click.echo(PasswordHash.of(password))
    click.echo("Put it between single quotes where a shell reads it: it has dollar signs.", err=True)


COMMANDS = (console,)
