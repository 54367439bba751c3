"""The page of the exit codes: those of errors, and those that commands name in their help."""

import re

from ingest.cli.interruption import INTERRUPTED
from ingest.errors import IngestError, SettingsError
from tests.support.reference.commands import commands
from tests.support.reference.markdown import page, table, with_links
from workers.operations.warnings import ExitCode

INTRODUCTION = """\
The same for all commands, so that a script need not know which one it runs. An error comes with one sentence at
standard error that says what to do, never with a traceback."""
SERVICES = """\
## Services

`ingest serve`, `worker`, `console`, `metrics`, `dev` and `all` end with 0 after SIGTERM or Ctrl-C, when what
they had in hand is done: a supervisor should start them again in all other cases. With 2 they would end again: a
setting has to be mended first. An error that nobody foresaw ends them with 1, with a traceback in the log."""


def made() -> str:
    """The page."""
    settings, other = SettingsError.exit_code, IngestError.exit_code
    rows = [
        ("0", "it is done, and all is well"),
        (str(other), "it could not be done, or not wholly: something cannot be reached, or is not there"),
        (str(settings), "a setting, a command or an option is missing or wrong: trying again will not help"),
        (str(INTERRUPTED), "Ctrl-C ended it before it was done; it says what was done by then"),
        ("143, 129", "the same of SIGTERM, as supervisors send it, and of a terminal that is gone"),
    ]  # fmt: skip
    return page(
        "Exit codes",
        INTRODUCTION,
        table(("exit code", "means"), rows),
        SERVICES,
        "## Commands that say more",
        table(("command", "says"), _said()),
        f"`ingest status` uses the codes of Nagios and its kin: {int(ExitCode.WELL)}, {int(ExitCode.WARNING)} and "
        f"{int(ExitCode.ALARM)}. A monitoring system can run it with `--quiet`.",
    )


def _said() -> list[tuple[str, str]]:
    """Each command that speaks of its exit code, and what it says."""
    found = []
    for context in commands():
        options = (getattr(one, "help", None) or "" for one in context.command.params)
        texts = [" ".join(text.split()) for text in (context.command.help or "", *options)]
        sentences = [one for text in texts for one in re.findall(r"[^.]*?\bexit code\b[^.]*\.", text)]
        if sentences:
            path = context.command_path
            says = " ".join(map(str.strip, sentences))
            found.append((f"[`{path}`](commands.md#{path.replace(' ', '-')})", with_links(says)))
    return found
