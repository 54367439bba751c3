"""Completion of what is being typed: the command that sets a shell up for it, and what looks names up.

A look-up may fail or find nothing, but never writes anything, and never takes long.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import click

from ingest.cli.choices import Completing, OneOf, Types
from ingest.cli.options import settings_with

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from workers.store.store import Store

T = TypeVar("T")

#: Names that are offered at most: more than a screen full helps nobody.
MOST = 100
#: Seconds that looking up names may take: as long as somebody who pressed a key waits.
PATIENCE = 3.0
#: The shells that click knows how to complete for.
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=OneOf(SHELLS))
def completion(shell: str) -> None:
    """Print what a shell needs to complete commands, options, types of events, handlers and ids.

    \b
    bash  eval "$(ingest completion bash)"      in ~/.bashrc
    zsh   eval "$(ingest completion zsh)"       in ~/.zshrc
    fish  ingest completion fish | source       in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover  # click knows them all
        raise click.UsageError(f"There is no completion for {shell}.")
    program = click.get_current_context().find_root().command
    click.echo(kind(program, {}, "ingest", "_INGEST_COMPLETE").source())


def looked_up(find: Callable[[], Iterable[str]]) -> Completing:
    """Complete with names that `find` finds; with none if anything fails."""

    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        names: list[str] = []
        with suppress(Exception):
            for name in find():
                if name.startswith(incomplete) and name not in names:
                    names.append(name)
                if len(names) == MOST:
                    break
        return [CompletionItem(name) for name in names]

    return complete


def types_of(names: Callable[[], Iterable[str]]) -> Completing:
    """Complete a list of types."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        return Types(names()).shell_complete(ctx, param, incomplete)

    return complete


def _registered() -> list[str]:
    from workers.handlers.listing import registered

    return [handler.name for handler in registered(settings_with(), PATIENCE).handlers]


def _in_store(names: "Callable[[Store], Iterable[str]]") -> list[str]:
    from workers.store.store import Store

    with Store.of(settings_with()) as store:
        return list(names(store))


def _with_work() -> list[str]:
    from workers.handlers.work_queue import WorkQueue

    def names(store: "Store") -> list[str]:
        queue = WorkQueue(store)
        return sorted(filter(None, {*queue.waiting(), *queue.failed()}))

    return _in_store(names)


def _failed() -> list[str]:
    from workers.handlers.dead_letters import STORE

    return [*_with_work(), STORE]


def _ids() -> list[str]:
    from workers.handlers.dead_letters import ids

    return _in_store(ids)


def _queues_and_handlers() -> list[str]:
    from ingest.jobs import QUEUES

    return [*QUEUES, *_registered()]


handlers = looked_up(_registered)
handlers_with_work = looked_up(_with_work)
failed_handlers = looked_up(_failed)
failed_ids = looked_up(_ids)
queues_and_handlers = looked_up(_queues_and_handlers)

COMMANDS = (completion,)
