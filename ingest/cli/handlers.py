"""The commands about handlers: failed, replay, handlers."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import asking, completion
from ingest.cli.amount import Finite
from ingest.cli.audit import noted
from ingest.cli.choices import OneOf
from ingest.cli.chosen import filter_of, which_events
from ingest.cli.interruption import interruptible
from ingest.cli.options import WORDS, json_document, json_lines, settings_with
from ingest.cli.paging import no_pager, paged
from ingest.cli.times import MOMENT, SINCE_HELP, in_order, with_zone
from ingest.copernica.event_types import EventType
from ingest.errors import SettingsError
from ingest.shown import counted, did_you_mean

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from workers.handlers.dead_letters import Wanted


@click.group()
def failed() -> None:
    """Manage dead letters and quarantined calls: what handlers, or the store, could not process."""


def which_letters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose dead letters."""
    options = (
        click.option(
            "--handler",
            type=WORDS,
            shell_complete=completion.failed_handlers,
            help="Only of this handler; `store` for quarantined calls.",
        ),
        click.option("--error", type=WORDS, help="Only those whose error contains this."),
        click.option(
            "--type",
            "type_",
            type=OneOf(EventType),
            metavar="TYPE",
            help="Only events of this type: open, click, …",
        ),
        click.option("--since", type=MOMENT, help=f"Failed {SINCE_HELP[0].lower()}{SINCE_HELP[1:]}"),
        click.option("--until", type=MOMENT, help="Failed before this time; written like --since."),
        with_zone,
    )
    for option in reversed(options):
        command = option(command)
    return command


def _wanted(
    handler: str | None, error: str | None, type_: str | None, since: datetime | None, until: datetime | None
) -> "Wanted":
    from workers.handlers.dead_letters import Wanted

    in_order(since, until)
    return Wanted(handler, error, type_, since, until)


@failed.command("list")
@which_letters
@json_lines("dead letter or quarantined call")
@no_pager
def list_(as_json: bool, no_pager: bool, zone: "ZoneInfo", **chosen: Any) -> None:
    """List dead letters and quarantined calls, the oldest failure first."""
    from ingest.cli.render import dead_letters
    from workers.handlers.dead_letters import find
    from workers.store.store import Store

    wanted = _wanted(**chosen)
    with Store.of(settings_with()) as store, paged(not no_pager):
        dead_letters.print_list(find(store, wanted), zone, as_json)


@failed.command()
@with_zone
@json_lines("handler and number of attempts")
def waiting(as_json: bool, zone: "ZoneInfo") -> None:
    """List what handlers failed on and get again: how much, when next, and the last error."""
    from ingest.cli.render import handlers as render
    from workers.handlers.work_queue import WorkQueue
    from workers.store.store import Store

    with Store.of(settings_with()) as store:
        render.retries(WorkQueue(store).retries(), zone, as_json)


@failed.command()
@click.argument("delivery_id", shell_complete=completion.failed_ids)
@click.option(
    "--handler",
    type=WORDS,
    shell_complete=completion.failed_handlers,
    help="The one of this handler, if several handlers failed.",
)
@with_zone
@no_pager
def show(delivery_id: str, handler: str | None, no_pager: bool, zone: "ZoneInfo") -> None:
    """Show one in full: the event, the error, the traceback."""
    from ingest.cli.render import dead_letters
    from workers.handlers.dead_letters import Wanted, find
    from workers.store.store import Store

    try:
        wanted = Wanted(handler=handler, delivery_id=bytes.fromhex(delivery_id))
    except ValueError:
        raise click.BadParameter("it should be 24 hex digits, as `ingest failed list` shows them") from None
    with Store.of(settings_with()) as store:
        found = list(find(store, wanted))
    if not found:
        raise click.ClickException(
            f"There is no dead letter and no quarantined call {delivery_id}: `ingest failed list` shows them."
        )
    with paged(not no_pager):
        for letter in found:
            dead_letters.print_one(letter, zone)


@failed.command()
@which_letters
@click.option("--yes", is_flag=True, help="Do not ask.")
def retry(yes: bool, zone: "ZoneInfo", **chosen: Any) -> None:
    """Give them to their handlers again: all, or those that the options choose."""
    from workers.handlers import dead_letters as letters

    has_handlers = settings_with().has_handlers
    gone = _act("retry", lambda store, some: letters.retry(store, some, has_handlers), yes, chosen)
    _wake()
    click.echo(f"{counted(gone, 'call went to its handler', 'calls went to their handlers')} again.")


@failed.command()
@which_letters
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(yes: bool, zone: "ZoneInfo", **chosen: Any) -> None:
    """Drop them: all, or those that the options choose. The events themselves stay in the store."""
    from workers.handlers import dead_letters as letters

    click.echo(f"{counted(_act('drop', letters.drop, yes, chosen), 'call')} dropped.")


def _act(what: str, act: Callable[[Any, Any], int], yes: bool, chosen: dict[str, Any]) -> int:
    from ingest.cli.render import dead_letters
    from workers.handlers import dead_letters as letters
    from workers.store.store import Store

    wanted = _wanted(**chosen)
    if not yes and not any(chosen.values()):
        asking.agreed(f"This will {what} all dead letters and quarantined calls. Go on?")
    done = 0

    def so_far() -> str:
        return f"{counted(done, 'call is', 'calls are')} done; the same command does the rest."

    settings = settings_with()
    with (
        noted(settings, what, chosen) as counted_,
        Store.of(settings) as store,
        interruptible(so_far),
    ):
        wanted = letters.until_now(store, wanted)
        with dead_letters.progress(what, letters.number_of(store, wanted)) as step:

            def note(more: int) -> None:
                nonlocal done
                done += more
                step(more)
                counted_.set(done)

            return counted_.set(letters.act_on(letters.find(store, wanted), lambda some: act(store, some), note))


def _wake() -> None:
    """Wake the handlers' workers; if Redis is unreachable, the next event does, or their next start."""
    import redis

    from ingest import redis_client
    from workers.handlers.waking import wake

    try:
        with redis_client.connect(settings_with().redis) as client:
            wake(client)
    except (redis.RedisError, SettingsError) as error:
        click.echo(f"Redis does not answer, so the handlers start with the next event: {error}", err=True)


@click.command()
@click.option(
    "--handler",
    required=True,
    type=WORDS,
    shell_complete=completion.handlers,
    help="The handler to hand them to.",
)
@which_events
@click.option("--force-types", is_flag=True, help="Also events of types that the handler does not take.")
@click.option("--rate", type=Finite(0, min_open=True), help="Events per second.  [default: no limit]")
@click.option("--restart", is_flag=True, help="Start over, even if the same command was interrupted earlier.")
@click.option("--anew", "restart", is_flag=True, hidden=True)  # its name in 0.1.0
def replay(
    handler: str, force_types: bool, rate: float | None, restart: bool, zone: "ZoneInfo", **chosen: Any
) -> None:
    """Hand stored events to a handler again, of the types that it takes and its `where` lets through.

    --type narrows the types. If interrupted, the same command continues where it stopped.
    """
    from ingest.cli.render import dead_letters
    from workers.handlers import replay as replaying
    from workers.handlers.configured import all_handlers
    from workers.store.store import Store

    settings, wanted = settings_with(), filter_of(chosen)
    known = all_handlers(settings)
    if handler not in known:
        there = ", ".join(known) or "none; set INGEST_HANDLERS"
        raise SettingsError(f"--handler {handler!r}: there are {there}.{did_you_mean(handler, known)}")
    if not force_types:
        wanted = replaying.narrowed(known[handler], asked := wanted)
        if left_out := set(asked.types).difference(wanted.types):
            click.echo(f"{handler} does not take {', '.join(sorted(left_out))}: left out.", err=True)
    with Store.of(settings) as store:
        name = replaying.name_of(handler, wanted)
        if restart:
            replaying.forget(store, name)
        before = replaying.begun(store, name)

        def so_far() -> str:
            done = counted(replaying.begun(store, name), "event")
            return f"{done} handed to {handler} so far; the same command continues from here."

        try:
            with (
                interruptible(so_far),
                noted(settings, "replay", {"handler": handler, **chosen}) as noting,
                dead_letters.progress("replaying", store.count(wanted), before) as step,
            ):
                done = noting.set(replaying.replay(store, handler, wanted, rate, step))
        finally:
            _wake()
    click.echo(f"{counted(done, 'event')} handed to {handler}{f', after {before:,} before' if before else ''}.")


@click.group(invoke_without_command=True)
@json_document()
@click.pass_context
def handlers(ctx: click.Context, as_json: bool) -> None:
    """List the handlers with their options, and what waits for each.

    The exit code is 1 if one of their modules cannot be imported.
    """
    if ctx.invoked_subcommand is not None:
        return
    from ingest.cli.render import handlers as render
    from workers.handlers.overview import overview

    found = overview(settings_with())
    render.handlers(found, as_json)
    ctx.exit(1 if found.problems else 0)


@handlers.command("drop")
@click.argument("name", type=WORDS, shell_complete=completion.handlers_with_work)
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop_handler(name: str, yes: bool) -> None:
    """Drop what waits for a handler that no longer exists, and its dead letters. The events stay in the store."""
    from ingest.cli.render import dead_letters
    from workers.handlers import dropping
    from workers.handlers.listing import registered
    from workers.handlers.names import with_work
    from workers.store.store import Store

    settings = settings_with()
    there = registered(settings)
    if name in there.names:
        raise click.ClickException(
            f"The handler {name} exists, by INGEST_HANDLERS and INGEST_FORWARD_URL: take it out first, or drop "
            f"its dead letters with `ingest failed drop --handler {name}`."
        )
    if there.problems:  # it may be one of those
        raise SettingsError(" ".join(there.problems))
    with Store.of(settings) as store:
        if not (kept := dropping.belongings(store, name)):
            known = with_work(store)
            raise click.ClickException(f"Nothing is kept of a handler {name!r}.{did_you_mean(name, known)}")
        calls = counted(kept.waiting, "call that waits", "calls that wait")
        letters = counted(kept.dead_letters, "dead letter")
        if not yes:
            asking.agreed(f"Drop {calls} for {name}, and {letters} of it?")
        done = 0

        def note(more: int) -> None:
            nonlocal done
            done += more
            step(more)

        def so_far() -> str:
            return f"{counted(done, 'call is', 'calls are')} dropped; the same command drops the rest."

        with (
            interruptible(so_far),
            noted(settings, "drop-handler", {"handler": name}) as noting,
            dead_letters.progress("drop", kept.waiting + kept.dead_letters) as step,
        ):
            dropped = dropping.drop(store, name, note)
            noting.set(dropped.waiting + dropped.dead_letters)
    _forget_in_redis(name)
    calls = counted(dropped.waiting, "waiting call")
    click.echo(f"Dropped {calls} and {counted(dropped.dead_letters, 'dead letter')} of {name}.")


def _forget_in_redis(name: str) -> None:
    """Delete what is kept there of a handler; it does no harm if that fails."""
    import redis

    from ingest import redis_client
    from ingest.jobs import JobScheduler
    from ingest.stream.pauses import HANDLER, Pauses

    with suppress(redis.RedisError, SettingsError), redis_client.connect(settings_with().redis) as client:
        JobScheduler(client).forget_handler(name)
        Pauses(client).remove([HANDLER + name])


COMMANDS = (failed, replay, handlers)
