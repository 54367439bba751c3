"""Which module has which command; it is imported when the command is asked for, since most run one, and stay."""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from types import MappingProxyType

import click

from ingest.cli.options import env_file

#: The module in this folder that has each command.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "alert": "alerts",
        "all": "run",
        "audit": "audit",
        "audit-mailings": "totals",
        "catch-up": "catch_up",
        "check": "diagnostics",
        "clickhouse": "clickhouse",
        "completion": "completion",
        "config": "config",
        "console": "console",
        "db": "database",
        "dev": "run",
        "drain": "run",
        "erase": "events",
        "event": "event",
        "events": "events",
        "events-of": "events_of",
        "export": "export",
        "failed": "handlers",
        "fake-api": "simulation",
        "gaps": "gaps",
        "handlers": "handlers",
        "import": "reconcile",
        "mailings": "mailings",
        "message": "message",
        "metrics": "metrics",
        "pause": "pauses",
        "plan": "plan",
        "reconcile": "reconcile",
        "replay": "handlers",
        "resume": "pauses",
        "scale": "metrics",
        "serve": "run",
        "simulate": "simulation",
        "stats": "events",
        "status": "diagnostics",
        "streams": "stream_servers",
        "webhooks": "webhooks",
        "worker": "run",
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
