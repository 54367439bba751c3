"""What people wait for at a prompt is imports, so commands import only what they need."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingest import Event, EventType, garbage
from ingest.copernica import events
from ingest.errors import SettingsError
from tests.support.source import ROOT

#: What takes longer to import than all that `--help` needs.
HEAVY = [
    "aiohttp",
    "alembic",
    "asyncio",
    "cryptography",
    "orjson",
    "prometheus_client",
    "psycopg",
    "pymysql",
    "pydantic",
    "redis",
    "rich",
    "rq",
    "sqlalchemy",
    "ssl",
    "structlog",
    "uvloop",
]
HELP_OF_ALL = """
from ingest.cli.main import main

main(["--version"], standalone_mode=False)
main(["--help"], standalone_mode=False)
groups = [([], main)]
for words, group in groups:
    for name, command in group.commands.items():
        main([*words, name, "--help"], standalone_mode=False)
        if hasattr(command, "commands"):
            groups.append(([*words, name], command))
"""
#: With a SQLite file for a store.
STATUS = """
import workers.operations.status, workers.store.sqlite
import ingest.cli.render.status
"""
#: Commands that need the database alone; there is none, so they end as soon as they have looked.
SEARCH = """
import os
from contextlib import suppress

from ingest.cli.main import main

os.environ["DATABASE_URL"] = "sqlite:///nowhere.db"
for command in (["events", "--recipient", "jan@example.nl"], ["stats"]):
    with suppress(SystemExit):
        main(command)
"""
#: What is left of the work of a garbage collector once a command has ended.
AT_THE_END = """
import atexit, gc
from ingest import garbage
from ingest.cli.main import main
from workers.handlers.registry import load

atexit.register(lambda: print("FROZEN", gc.get_freeze_count() > 10_000))
"""
#: In each run of pytest, of each project that has this program among its packages.
PLUGIN = "import ingest.pytest_plugin"
#: What pytest has imported itself by then.
PYTESTS = {"asyncio", "ssl"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "unneeded"),
    [
        (HELP_OF_ALL, HEAVY),
        (
            STATUS,
            [
                "aiohttp",
                "alembic",
                "psycopg",
                "pymysql",
                "sqlalchemy.dialects.postgresql",
                "sqlalchemy.dialects.mysql",
                "structlog",
                "uvloop",
                "rich.progress",
            ],
        ),
        (SEARCH, ["aiohttp", "alembic", "psycopg", "redis", "rq", "uvloop"]),
        (PLUGIN, [name for name in HEAVY if name not in PYTESTS] + ["ingest.testing"]),
    ],
    ids=["help", "status", "search", "pytest"],
)
def test_a_command_imports_nothing_that_it_does_not_need(code: str, unneeded: list[str]) -> None:
    tell = f"{code}\nimport sys\nprint('IMPORTED', *({{*{unneeded!r}}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", tell], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["IMPORTED"], done.stderr


def test_what_is_imported_late_is_there_all_the_same() -> None:
    assert (Event, EventType) == (events.Event, events.EventType)
    with pytest.raises(ImportError):
        from ingest import Events  # type: ignore[attr-defined]  # noqa: F401


def test_what_runs_for_long_looks_for_garbage_as_often_as_usual() -> None:
    usual = gc.get_threshold()
    with garbage.rarely():
        assert gc.get_threshold()[0] > usual[0]
        with pytest.raises(SettingsError), garbage.rarely():
            raise SettingsError("")
        assert gc.get_threshold() == usual
    with garbage.rarely():
        garbage.as_usual()
        assert gc.get_threshold() == usual


@pytest.mark.parametrize(
    ("ran", "frozen"),
    [('main(["--version"])', True), ('main.main(["--version"])', False)],
    ids=["shell", "in a process of others"],
)
def test_nobody_looks_for_garbage_when_a_command_of_a_shell_ends(ran: str, frozen: bool) -> None:
    ending = [sys.executable, "-c", f"{AT_THE_END}\n{ran}"]
    done = subprocess.run(ending, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == [f"FROZEN {frozen}"], done.stderr


def test_what_a_module_of_a_user_has_left_open_is_written_when_a_worker_ends(tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text("left = open('left.txt', 'w')\nleft.write('all of it')\ndef of_this_module(): ...\n")
    code = f"{AT_THE_END}\ngarbage.none_at_the_end()\nload(('shop',))"
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, check=True)
    assert (tmp_path / "left.txt").read_text() == "all of it"
