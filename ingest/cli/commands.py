"""Which module has which command; it is imported when the command is asked for, since most run one, and stay."""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from types import MappingProxyType

import click

from ingest.cli.options import env_file

#: The module in this folder that has each command, in the order of the reference.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "dev": "run",
        "all": "run",
        "serve": "run",
        "worker": "run",
        "drain": "run",
        "console": "console",
        "status": "diagnostics",
        "check": "diagnostics",
        "alert": "alerts",
        "metrics": "metrics",
        "scale": "metrics",
        "config": "config",
        "event": "event",
        "events": "events",
        "stats": "events",
        "erase": "events",
        "db": "database",
        "events-of": "events_of",
        "export": "export",
        "clickhouse": "clickhouse",
        "failed": "handlers",
        "replay": "handlers",
        "handlers": "handlers",
        "pause": "pauses",
        "resume": "pauses",
        "streams": "stream_servers",
        "audit": "audit",
        "gaps": "gaps",
        "reconcile": "reconcile",
        "import": "reconcile",
        "catch-up": "catch_up",
        "audit-mailings": "totals",
        "mailings": "mailings",
        "message": "message",
        "simulate": "simulation",
        "fake-api": "simulation",
        "webhooks": "webhooks",
        "plan": "plan",
        "completion": "completion",
    }
)


class Commands(MutableMapping[str, click.Command]):
    """The commands by their names, imported one by one."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = dict(modules)
        self._imported: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        """The command of this name."""
        if name not in self._imported:
            for command in import_module(f"ingest.cli.{self._modules[name]}").COMMANDS:
                self[command.name] = _with_env_file(command)
        return self._imported[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        """Add a command."""
        self._modules.setdefault(name, "")
        self._imported[name] = command

    def __delitem__(self, name: str) -> None:
        """Take a command away."""
        del self._modules[name]
        self._imported.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        """The names, without importing anything."""
        return iter(self._modules)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._modules)


def _with_env_file(command: click.Command) -> click.Command:
    """The command, and all below it, with the option `--env-file`."""
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _with_env_file(below)
    return env_file(command)
