"""The command that shows the settings: `ingest config`."""

import sys
from pathlib import Path

import click

from ingest.cli.options import given_settings


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Only say what is wrong with them, if anything.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.option("--port", type=click.IntRange(1, 65535), help="As `ingest dev` has it.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="As `ingest dev` has it.")
def config(only_check: bool, as_json: bool, port: int | None, data_dir: Path | None) -> None:
    """Show every setting as it counts here, and where it comes from; secrets are not shown."""
    from ingest.cli.render import config as render
    from ingest.settings import Settings
    from workers.operations.config import effective

    given = given_settings()
    settings, mistakes = Settings.try_to_read(given.values)
    if settings is None or mistakes:
        render.mistakes(mistakes, as_json)
        sys.exit(2)
    changes = {"port": port, "data_dir": data_dir}
    rows = effective(settings, given, {name: value for name, value in changes.items() if value is not None})
    if only_check:
        render.all_is_well(rows, as_json)
    else:
        render.settings(rows, as_json)


COMMANDS = (config,)
