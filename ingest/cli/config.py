"""The command that shows the settings: `ingest config`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest import shown
from ingest.cli.options import given_settings, json_document
from ingest.setting_sources import PREFIX

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class NameOfSetting(click.ParamType[str]):
    """The name of a setting, in any case, and without `INGEST_` if one likes."""

    name = "setting"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """To the name in full."""
        from ingest.setting_catalogue import BY_NAME

        typed = str(value).strip().upper().replace("-", "_")
        for name in (typed, PREFIX + typed):
            if name in BY_NAME:
                return name
        meant = shown.nearest(sorted(BY_NAME), typed, PREFIX + typed)
        raise click.BadParameter(
            f"{value!r} is not a setting.{f' Did you mean {meant}?' if meant else ''}", ctx, param
        )

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        """Complete it, whether or not its beginning was typed."""
        from click.shell_completion import CompletionItem

        from ingest.setting_catalogue import BY_NAME

        begun = incomplete.upper().replace("-", "_")
        return [CompletionItem(name) for name in BY_NAME if name.startswith((begun, PREFIX + begun))]


@click.command()
@click.argument("names", nargs=-1, type=NameOfSetting(), metavar="[SETTING]...")
@click.option("--check", "only_check", is_flag=True, help="Only say what is wrong with them, if anything.")
@json_document()
@click.option("--port", type=click.IntRange(1, 65535), help="As `ingest dev` has it.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="As `ingest dev` has it.")
def config(
    names: tuple[str, ...], only_check: bool, as_json: bool, port: int | None, data_dir: Path | None
) -> None:
    """Show every setting as it counts here, and where it comes from; secrets are not shown.

    Of settings that are named, also what each means, and what happens if it is wrong. The exit code is 2 if one of
    all settings cannot be used.
    """
    from ingest.cli.render import config as render
    from ingest.settings import Settings
    from workers.operations.config import effective

    if names and only_check:
        raise click.UsageError("--check looks at all settings: leave their names out.")
    given = given_settings()
    settings, mistakes = Settings.try_to_read(given.values, given.withheld)
    if settings is None or mistakes:
        render.mistakes(mistakes, as_json)
        if names and not as_json:
            render.explained(names, [])
        sys.exit(2)
    changes = {"port": port, "data_dir": data_dir}
    rows = effective(settings, given, {name: value for name, value in changes.items() if value is not None})
    if only_check:
        render.all_is_well(rows, as_json)
    elif names and not as_json:
        render.explained(names, rows)
    else:
        render.settings([row for row in rows if not names or row.name in names], as_json)


COMMANDS = (config,)
