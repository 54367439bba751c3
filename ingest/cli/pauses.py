"""The commands that have work wait, and go on: pause, resume."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ingest.cli import completion
from ingest.cli.audit import noted
from ingest.cli.options import WORDS, settings_with
from ingest.cli.times import Moment, with_zone
from ingest.shown import did_you_mean

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    import redis

    from ingest.settings import Settings


@click.command()
@click.argument("what", type=WORDS, required=False, shell_complete=completion.queues_and_handlers)
@click.option(
    "--until",
    type=Moment(ahead=True),
    help="Go on by itself then: 2h, 18:00, tomorrow, 2026-11-27T08:00.  [default: never]",
)
@with_zone
def pause(what: str | None, until: datetime | None, zone: "ZoneInfo") -> None:
    """Have the work of a queue or a handler wait: events, handlers, or the name of a handler; or of both queues.

    Workers notice within seconds, finish what they are at, and take no more. Nothing is lost: calls are
    acknowledged as before, and wait in Redis, or in the database for handlers. `handler:NAME` and `queue:NAME`
    tell apart what has the same name. What is paused is kept in Redis.
    """
    from ingest.cli.render import console
    from ingest.stream.clock import redis_time
    from ingest.stream.pauses import Pauses

    settings = settings_with()
    names = _named(settings, what)
    until_when = None if until is None else until.isoformat()
    with noted(settings, "pause", {"names": names, "until": until_when}) as noting, _redis(settings) as client:
        ends = None
        if until is not None:  # by the clock of Redis, whatever ours is
            ends = redis_time(client) + int((until - datetime.now(UTC)).total_seconds() * 1_000_000)
        Pauses(client).add(names, ends)
        noting.set(len(names))
    when = (
        "until it is resumed"
        if until is None
        else f"until {console.local(int(until.timestamp()) * 1_000_000, zone)}"
    )
    for name in names:
        click.echo(f"Paused {when}: {_shown(name)}.")
    click.echo("`ingest resume` lets it go on.")


@click.command()
@click.argument("what", type=WORDS, required=False, shell_complete=completion.queues_and_handlers)
def resume(what: str | None) -> None:
    """Let go on what was paused: a queue, a handler, or everything, also what `rq suspend` holds up."""
    from rq.suspension import is_suspended
    from rq.suspension import resume as resume_rq

    from ingest.stream.pauses import Pauses

    settings = settings_with()
    with noted(settings, "resume", {"name": what}) as noting, _redis(settings) as client:
        pauses = Pauses(client)
        paused = [one.name for one in pauses.all()]
        wanted = paused if what is None else _paused_as(what, paused)
        gone_on = pauses.remove(wanted)
        noting.set(len(gone_on))
        suspended = what is None and bool(is_suspended(client))
        if suspended:
            resume_rq(client)
        _wake(client)
    for name in gone_on:
        click.echo(f"Goes on: {_shown(name)}.")
    if suspended:
        click.echo("Go on: all workers, which `rq suspend` had held up.")
    if not gone_on and not suspended:
        click.echo(
            "Nothing is paused."
            if what is None
            else f"{what} is not paused.{did_you_mean(what, map(_plain, paused))}"
        )


def _named(settings: "Settings", what: str | None) -> list[str]:
    """The names of what is to be paused.

    Raises:
        click.BadParameter: there is no such queue or handler.
    """
    from ingest.jobs import QUEUES
    from ingest.stream.pauses import HANDLER, QUEUE
    from workers.handlers.listing import registered

    if what is None:
        return [QUEUE + name for name in QUEUES]
    if what in QUEUES:
        return [QUEUE + what]
    if what.removeprefix(QUEUE) in QUEUES and what.startswith(QUEUE):
        return [what]
    found = registered(settings)
    name = what.removeprefix(HANDLER)
    if name not in found.names and not found.problems:  # with problems, it may be among those that are not known
        known = [*QUEUES, *found.names]
        raise click.BadParameter(
            f"{what!r} is neither a queue nor a handler; there are {', '.join(known)}.{did_you_mean(name, known)}",
            param_hint="WHAT",
        )
    return [HANDLER + name]


def _paused_as(what: str, paused: Sequence[str]) -> list[str]:
    """Under which names something is paused: a handler that is gone can be resumed, too."""
    return [name for name in paused if what in (name, _plain(name))]


def _plain(name: str) -> str:
    return name.partition(":")[2]


def _shown(name: str) -> str:
    from ingest.cli.render import console

    kind, _, plain = name.partition(":")
    return console.printable(f"the {kind} {plain}")


@contextmanager
def _redis(settings: "Settings") -> "Iterator[redis.Redis]":
    """A client of a Redis that answers.

    Raises:
        Unavailable: it does not.
    """
    import redis

    from ingest import redis_client

    with redis_client.connect(settings.redis) as client:
        redis_client.require(client, settings.redis)
        try:
            yield client
        except redis.RedisError as error:
            raise redis_client.unavailable(settings.redis, error) from None


def _wake(client: "redis.Redis") -> None:
    """Enqueue what there is to do now, rather than when the next sweep finds it."""
    from ingest.jobs import JobScheduler

    scheduler = JobScheduler(client)
    scheduler.wake_drain()
    scheduler.wake_verify()
    scheduler.sweep_handoffs()


COMMANDS = (pause, resume)
