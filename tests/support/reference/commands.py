"""The page of the commands: what each says with `--help`."""

from collections.abc import Iterator
from inspect import cleandoc

import click

from ingest.cli.main import main
from tests.support.reference.markdown import code, page, table, with_links

INTRODUCTION = """\
Each command says the same with `--help` (or `-h`). Names of commands and options, and values that are names, may
be in capitals; a wrong one is answered with the nearest. All take `--env-file PATH`, a file with more
[settings](settings.md). What went wrong is said in one sentence at standard error; [exit codes](exit-codes.md)
are the same for all, unless a command says more here. `ingest completion` has your shell complete all this."""
#: Options of every command, which the introduction tells.
OF_ALL = frozenset({"--env-file", "--help"})


def commands(group: click.Group = main, above: click.Context | None = None) -> Iterator[click.Context]:
    """Each command that people are shown, with those below it."""
    # With its settings: a command keeps the option `--help` as it was first asked for.
    above = above or click.Context(main, info_name="ingest", **main.context_settings)
    for name, command in group.commands.items():
        if command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=above)
        yield context
        if isinstance(command, click.Group):
            yield from commands(command, context)


def made() -> str:
    """The page."""
    return page("Commands", INTRODUCTION, _overview(), *(part for one in commands() for part in _parts(one)))


def _overview() -> str:
    rows = [
        (f"[`{one.command_path}`](#{one.command_path.replace(' ', '-')})", one.command.get_short_help_str(200))
        for one in commands()
    ]
    return table(("command", "does"), rows)


def _parts(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## {context.command_path}"
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```\n{usage}\n```"
    yield with_links(cleandoc(command.help or ""))
    records = [
        record
        for one in command.get_params(context)
        if not OF_ALL & {*one.opts} and (record := one.get_help_record(context))
    ]
    if records:
        yield table(("option", "does"), [(code(names), text.replace("  [", " [")) for names, text in records])
