"""What holds for all commands: names in any case, the nearest for a wrong one, help that fits a terminal."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ingest import cli
from ingest.cli.choices import Listed, OneOf, Types
from ingest.cli.commands import COMMANDS
from ingest.cli.main import main
from ingest.cli.times import Day, Moment
from ingest.copernica.event_types import EventType


def commands(
    group: click.Group = main, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands, each with the words that name it."""
    yield words, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


ALL = dict(commands())


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_help_of_a_command_fits_80_columns(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*words, "-h"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_choice_is_taken_in_any_case_and_every_time_has_a_zone(words: tuple[str, ...]) -> None:
    parameters = ALL[words].params
    assert [
        one.name for one in parameters if isinstance(one.type, click.Choice) and type(one.type) is not OneOf
    ] == []
    if any(isinstance(one.type, Moment) for one in parameters):
        assert "--tz" in {name for one in parameters for name in one.opts}


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_json_is_one_document_or_lines_and_the_help_says_which(words: tuple[str, ...]) -> None:
    shown = " ".join(CliRunner().invoke(main, [*words, "--help"]).stdout.split())
    if " --json " in shown:
        said = shown.partition(" --json ")[2]
        assert said.startswith(("For a script: one JSON document", "For a script: JSON lines, an object per "))


def problem(kind: click.ParamType, text: str) -> str:  # type: ignore[type-arg]
    with pytest.raises(click.BadParameter) as failed:
        kind.convert(text, None, None)
    return failed.value.message


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("open", "open"), ("OPEN", "open"), (" Open ", "open"), ("Profile_Create", "profile-create")],
)
def test_a_type_is_known_however_it_is_written(typed: str, meant: str) -> None:
    assert OneOf(EventType).convert(typed, None, None) == meant
    assert Types().convert(f"{typed},{typed},click", None, None) == (EventType(meant), EventType.CLICK)


@pytest.mark.parametrize(
    ("kind", "typed", "nearest"),
    [
        (OneOf(EventType), "opne", "open"),
        (OneOf(EventType), "PROFILE_UDPATE", "profile-update"),
        (Types(), "open,clik", "click"),
        (Listed(OneOf(["ms", "publisher"]), "callers"), "publish", "publisher"),
        (Moment(), "yestrday", "yesterday"),
        (Day(), "yesterdya", "yesterday"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(kind: click.ParamType, typed: str, nearest: str) -> None:  # type: ignore[type-arg]
    assert problem(kind, typed).endswith(f" Did you mean {nearest}?")
    assert "Did you mean" not in problem(kind, "!")


@pytest.mark.parametrize(
    ("typed", "day"),
    [
        ("20-11-2026", "2026-11-20"),
        ("20/11/2026", "2026-11-20"),
        ("20.11.2026", "2026-11-20"),
        ("20-11-26", "2026-11-20"),
        ("2026/11/20", "2026-11-20"),
        ("2026-11-5", "2026-11-05"),
        ("11/20/2026", "2026-11-20"),
        ("5-11-2026", "2026-11-05 or 2026-05-11"),
        ("20 november 2026", "2026-11-20"),
        ("vr 20 nov. 2026", "2026-11-20"),
        ("1 mrt 2026", "2026-03-01"),
        ("November 20, 2026", "2026-11-20"),
        ("20-okt-2026", "2026-10-20"),
        ("29-02-2026", ""),
        ("32-13-2026", ""),
        ("20-11", ""),
        ("1 xyz 2026", ""),
        ("20-11/2026", ""),
        ("\u0663-\u0661\u0661-2026", ""),
    ],
)
def test_a_day_as_it_is_written_elsewhere_is_answered_with_how_it_is_written_here(typed: str, day: str) -> None:
    assert problem(Day(), typed).partition(" Did you mean ")[2] == (f"{day}?" if day else "")
    assert problem(Moment(), typed).partition(" Did you mean ")[2] == (f"{day}?" if day else "")
    times = problem(Moment(), f"{typed} 9:05").partition(" Did you mean ")[2]
    assert times == (f"{day.replace(' or', 'T09:05 or')}T09:05?" if day else "")


@pytest.mark.parametrize(
    ("kind", "typed", "meant"),
    [
        (Day(), "2026-11-20T09:00", "2026-11-20"),
        (Moment(), "20-11-2026 09:05:06", "2026-11-20T09:05:06"),
        (Moment(), "20-11-2026T25:00", ""),
        (Moment(), "20-11-2026 9:05 UTC", "2026-11-20T09:05Z"),
        (Moment(), "2026-11-20T9:05", "2026-11-20T09:05"),
    ],
)
def test_a_time_as_it_is_written_elsewhere_likewise(
    kind: click.ParamType[Any],
    typed: str,
    meant: str,
) -> None:
    assert problem(kind, typed).partition(" Did you mean ")[2] == (f"{meant}?" if meant else "")


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        (["evnts"], "'events'"),
        (["failed", "lits"], "'list'"),
        (["events", "--recipeint", "x"], "'--recipient'"),
        (["worker", "--queue", "handler"], "handlers"),
    ],
)
def test_a_wrong_command_or_option_is_answered_with_the_nearest(typed: list[str], nearest: str) -> None:
    done = CliRunner().invoke(main, typed)
    assert (done.exit_code, "Did you mean" in done.stderr, nearest in done.stderr) == (2, True, True)


@pytest.mark.parametrize(
    "typed",
    ["events --limit 9999999999999999999", "status --watch nan", "status --watch 1e999",
     "simulate --rate inf", "simulate --events 9999999999999999999", "replay h --rate nan"],
)  # fmt: skip
def test_a_number_that_is_none_or_far_too_large_is_refused(typed: str) -> None:
    done = CliRunner().invoke(main, typed.split())
    assert done.exit_code == 2
    assert done.stderr.count("\n") <= 5


def test_commands_and_options_may_be_in_capitals() -> None:
    assert CliRunner().invoke(main, ["EVENTS", "--Help"]).exit_code == 0
    assert CliRunner().invoke(main, ["-V"]).stdout == CliRunner().invoke(main, ["--version"]).stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("failed list --type op", ["open"]),
        ("events --type open,cl", ["open,click"]),
        ("events --type open,o", []),
        ("events --format ", ["table", "jsonl", "csv"]),
        ("simulate --types op", ["open"]),
        ("import --kind cdm-cl", ["cdm-click"]),
        ("webhooks create --trigger cl", ["click"]),
        ("worker --queue ", ["events", "handlers"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("fail", ["failed"]),
        ("failed ", ["drop", "list", "retry", "show", "waiting"]),
    ],
)
def test_what_is_being_typed_is_completed(typed: str, offered: list[str]) -> None:
    words = f"ingest {typed}".split(" ")
    environ = {
        "_INGEST_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = CliRunner().invoke(main, prog_name="ingest", env=environ)
    assert sorted(line.partition(",")[2] for line in done.stdout.split()) == sorted(offered)


def test_every_command_is_looked_for_in_the_module_that_has_it() -> None:
    names = [path.stem for path in Path(cli.__file__).parent.glob("*.py")]
    having = {name: getattr(import_module(f"ingest.cli.{name}"), "COMMANDS", ()) for name in names}
    commands = [(name, found) for name, found in having.items() if isinstance(found, tuple)]
    assert {command.name: name for name, found in commands for command in found} == dict(COMMANDS)
