"""Each command that changes something is in the audit, or is here with the reason why not."""

import inspect

import click

from ingest.cli import (
    catch_up,
    clickhouse,
    database,
    events,
    events_of,
    export,
    handlers,
    pauses,
    reconcile,
    stream_servers,
    totals,
    webhooks,
)
from ingest.cli.main import main

#: Commands that write down who typed them, by the modules that hold them.
AUDITED = {
    "catch-up": catch_up,
    "clickhouse": clickhouse,
    "db adopt": database,
    "erase": events,
    "events-of": events_of,
    "export": export,
    "failed drop": handlers,
    "failed retry": handlers,
    "handlers drop": handlers,
    "replay": handlers,
    "pause": pauses,
    "streams drain": stream_servers,
    "streams forget": stream_servers,
    "streams use": stream_servers,
    "resume": pauses,
    "reconcile": reconcile,
    "import": reconcile,
    "audit-mailings": totals,
    "db upgrade": database,
    "db pseudonymise": database,
    **dict.fromkeys(("webhooks create", "webhooks delete", "webhooks setup", "webhooks update"), webhooks),
}
#: Services, and what a service does, too: nobody's action.
SERVICES = {"all", "console", "dev", "drain", "metrics", "serve", "worker"}
#: What only looks, or makes something for whoever typed it.
LOOKS = {
    "alert look", "alert test", "audit", "check", "completion", "config", "console hash-password", "db backup",
    "db size", "event", "events", "failed list", "failed show", "failed waiting", "fake-api", "gaps", "handlers",
    "mailings", "message", "plan", "scale", "simulate", "stats", "status", "streams", "webhooks list",
}  # fmt: skip  # a list to be read across
#: What brings another audit along.
ELSEWHERE = {"db restore"}


def commands(group: click.Group, above: str = "") -> set[str]:
    found = set()
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= commands(command, f"{above}{name} ")
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found.add(above + name)
    return found


def test_each_command_is_in_the_audit_or_has_a_reason_not_to_be() -> None:
    assert commands(main) == set(AUDITED) | SERVICES | LOOKS | ELSEWHERE


def test_those_that_are_in_the_audit_name_themselves_there() -> None:
    for name, module in AUDITED.items():
        assert "noted(" in inspect.getsource(module), name
