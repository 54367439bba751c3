"""The commands for the stream servers: show them, empty one, use it again, forget one that is gone."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ingest.cli.asking import agreed
from ingest.cli.audit import noted
from ingest.cli.options import WORDS, json_document, settings_with
from ingest.errors import Unavailable
from ingest.shown import counted, did_you_mean

if TYPE_CHECKING:
    import redis

    from ingest.settings import Settings
    from ingest.stream.partitions import Partition, Partitions

#: Seconds between two looks at a server that is being emptied.
LOOK_EVERY = 1.0


@click.group(invoke_without_command=True)
@json_document()
@click.pass_context
def streams(ctx: click.Context, as_json: bool) -> None:
    """Show the servers that calls wait on: state, events, age, memory, and how endpoints write to each.

    There is one, unless INGEST_STREAM_URLS names several. A server that calls were written to, and that is named
    no more, is shown until it was drained or is forgotten.
    """
    if ctx.invoked_subcommand is None:
        from ingest.cli.render import streams as render
        from workers.operations.streams import listed

        render.streams(listed(settings_with()), as_json)


@streams.command("drain")
@click.argument("server", type=WORDS)
@click.option("--no-wait", is_flag=True, help="Do not wait until it is empty; exit code 1 if it is not.")
def drain_server(server: str, no_wait: bool) -> None:
    """Empty a server that is to be taken out: by its number or name in `ingest streams`.

    Endpoints write nothing there from now on, and workers drain what it has. Ctrl-C ends the waiting only;
    `ingest streams use` has calls written there again.
    """
    from workers.operations.streams import Emptying

    settings = settings_with()
    with _reached(settings) as (found, client):
        one = _named(found, server)
        emptying = Emptying(one, found, client)
        with noted(settings, "streams-drain", {"server": one.name}):
            emptying.begin()
        click.echo(f"{one.name} gets no calls any more.")
        now = emptying.stand()
        while not now.is_drained and not no_wait:
            click.echo(f"{counted(now.batches, 'batch', 'batches')} left", err=True)
            time.sleep(LOOK_EVERY)
            now = emptying.stand()
        if not now.is_drained:
            click.echo(f"It has {counted(now.batches, 'batch', 'batches')} yet: leave it where it is.")
            raise click.exceptions.Exit(1)
        if dead := emptying.dead_batches():
            click.echo(f"{counted(dead, 'damaged batch', 'damaged batches')} in its dead stream would go with it.")
    stays = "; it has rq's queues, so it stays as REDIS_URL" if one.has_queues else ", then switch it off"
    click.echo(f"It is empty: take it out of INGEST_STREAM_URLS everywhere{stays}.")


@streams.command("use")
@click.argument("server", type=WORDS)
def use_server(server: str) -> None:
    """Have calls written to a server again that was drained."""
    from workers.operations.streams import reopen

    settings = settings_with()
    with _reached(settings) as (found, _):
        one = _named(found, server)
        with noted(settings, "streams-use", {"server": one.name}):
            reopen(one)
    click.echo(f"{one.name} gets calls again, within some seconds.")


@streams.command("forget")
@click.argument("server", type=WORDS)
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget_server(server: str, yes: bool) -> None:
    """Forget a server that is named no more: it is gone, with what it had."""
    import redis

    from ingest import redis_client
    from ingest.stream.known_streams import KnownStreams

    settings = settings_with()
    if any(one.name == server for one in settings.stream_servers):
        raise click.BadParameter(f"{server} is in INGEST_STREAM_URLS, so it is in use.", param_hint="SERVER")
    with redis_client.connect(settings.redis) as client:
        try:
            known = KnownStreams(client)
            names = [one.name for one in known.all()]
            if server not in names:
                hint = did_you_mean(server, names)
                raise click.BadParameter(f"{server!r} is not remembered.{hint}", param_hint="SERVER")
            if not yes:
                agreed(f"What {server} has is not stored, unless its log files bring it. Forget it?")
            with noted(settings, "streams-forget", {"server": server}):
                known.forget(server)
        except redis.RedisError as error:
            raise redis_client.unavailable(settings.redis, error) from None
    click.echo(f"{server} is forgotten.")


@contextmanager
def _reached(settings: "Settings") -> "Iterator[tuple[Partitions, redis.Redis]]":
    """All servers, and how to get to that of the queues."""
    from ingest import partitions, redis_client

    with redis_client.connect(settings.redis) as client, partitions.opened(settings, client) as found:
        if not found.are_several:
            raise Unavailable("There is one stream server, which has to take the calls: see INGEST_STREAM_URLS.")
        yield found, client


def _named(found: "Partitions", server: str) -> "Partition":
    """A server by its number, from 1 on, or its name.

    Raises:
        click.BadParameter: there is none.
    """
    all_of_them = list(found)
    if server.isascii() and server.isdigit() and 1 <= int(server) <= len(all_of_them):
        return all_of_them[int(server) - 1]
    if (one := next((one for one in all_of_them if one.name == server), None)) is not None:
        return one
    names = [one.name for one in all_of_them]
    raise click.BadParameter(
        f"{server!r} is none of them: {', '.join(names)}.{did_you_mean(server, names)}", param_hint="SERVER"
    )


COMMANDS = (streams,)
