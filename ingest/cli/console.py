"""The command that shows pages in a browser: console."""

import click

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


COMMANDS = (console,)
