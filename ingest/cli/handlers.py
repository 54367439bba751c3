"""The commands about handlers: failed, replay."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.options import MOMENT, WORDS, settings_with, which_events
from ingest.copernica.event_types import EventType
from ingest.errors import SettingsError
from ingest.shown import counted

if TYPE_CHECKING:
    from workers.handlers.dead_letters import Wanted


@click.group()
def failed() -> None:
    """Manage dead letters and quarantined calls: what handlers, or the store, could not process."""


def which_letters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose dead letters."""
    options = (
        click.option("--handler", type=WORDS, help="Only of this handler; `store` for quarantined calls."),
        click.option("--error", type=WORDS, help="Only those whose error contains this."),
        click.option("--type", "type_", type=click.Choice(list(EventType)), help="Only events of this type."),
        click.option(
            "--since", type=MOMENT, help="Failed at or after: 2026-11-20, 2026-11-20T09:00, or 15m, 6h, 2d ago."
        ),
        click.option("--until", type=MOMENT, help="Failed before this time; written like --since."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _wanted(
    handler: str | None, error: str | None, type_: str | None, since: datetime | None, until: datetime | None
) -> "Wanted":
    from workers.handlers.dead_letters import Wanted

    return Wanted(handler, error, type_, since, until)


@failed.command("list")
@which_letters
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for a script.")
def list_(as_json: bool, **chosen: Any) -> None:
    """List dead letters and quarantined calls, the oldest failure first."""
    from ingest.cli.render import dead_letters
    from workers.handlers.dead_letters import find
    from workers.store.store import Store

    with Store.open(settings_with().database) as store:
        dead_letters.print_list(find(store, _wanted(**chosen)), as_json)


@failed.command()
@click.argument("delivery_id")
@click.option("--handler", help="The one of this handler, if several handlers failed.")
def show(delivery_id: str, handler: str | None) -> None:
    """Show one in full: the event, the error, the traceback."""
    from ingest.cli.render import dead_letters
    from workers.handlers.dead_letters import Wanted, find
    from workers.store.store import Store

    try:
        wanted = Wanted(handler=handler, delivery_id=bytes.fromhex(delivery_id))
    except ValueError:
        raise click.BadParameter("it should be 24 hex digits, as `ingest failed list` shows them") from None
    with Store.open(settings_with().database) as store:
        found = list(find(store, wanted))
    if not found:
        raise click.ClickException(f"There is no dead letter and no quarantined call {delivery_id}.")
    for letter in found:
        dead_letters.print_one(letter)


@failed.command()
@which_letters
@click.option("--yes", is_flag=True, help="Do not ask.")
def retry(yes: bool, **chosen: Any) -> None:
    """Give them to their handlers again: all, or those that the options choose."""
    from workers.handlers import dead_letters as letters

    has_handlers = settings_with().has_handlers
    gone = _act("retry", lambda store, some: letters.retry(store, some, has_handlers), yes, chosen)
    _wake()
    click.echo(f"{gone:,} went to their handlers again.")


@failed.command()
@which_letters
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(yes: bool, **chosen: Any) -> None:
    """Drop them: all, or those that the options choose. The events themselves stay in the store."""
    from workers.handlers import dead_letters as letters

    click.echo(f"{_act('drop', letters.drop, yes, chosen):,} dropped.")


def _act(what: str, act: Callable[[Any, Any], int], yes: bool, chosen: dict[str, Any]) -> int:
    from ingest.cli.render import dead_letters
    from workers.handlers.dead_letters import find, portions
    from workers.store.store import Store

    if not yes and not any(chosen.values()):
        click.confirm(f"This will {what} all dead letters and quarantined calls. Go on?", abort=True)
    with Store.open(settings_with().database) as store:
        matching = list(find(store, _wanted(**chosen)))
        with dead_letters.progress(what, len(matching)) as step:
            return portions(matching, lambda some: act(store, some), step)


def _wake() -> None:
    """Wake the handlers' workers; if Redis is unreachable, the next event does, or their next start."""
    import redis

    from ingest import redis_client
    from ingest.jobs import JobScheduler

    try:
        with redis_client.connect(settings_with().redis) as client:
            scheduler = JobScheduler(client)
            scheduler.note_handoffs(True)
            scheduler.hand_on()
    except (redis.RedisError, SettingsError) as error:
        click.echo(f"Redis does not answer, so the handlers start with the next event: {error}", err=True)


@click.command()
@click.option("--handler", required=True, type=WORDS, help="The handler to hand them to.")
@which_events
@click.option("--force-types", is_flag=True, help="Also events of types that the handler does not take.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Events per second.  [default: no limit]")
@click.option("--restart", is_flag=True, help="Start over, even if the same command was interrupted earlier.")
@click.option("--anew", "restart", is_flag=True, hidden=True)  # its name in 0.1.0
def replay(handler: str, force_types: bool, rate: float | None, restart: bool, **chosen: Any) -> None:
    """Hand stored events to a handler again, of the types that it takes and its `where` lets through.

    --type narrows the types. If interrupted, the same command continues where it stopped.
    """
    from ingest.cli.events import filter_of
    from ingest.cli.render import dead_letters
    from workers.handlers import replay as replaying
    from workers.handlers.configured import all_handlers
    from workers.store.store import Store

    settings, wanted = settings_with(), filter_of(chosen)
    known = all_handlers(settings)
    if handler not in known:
        raise SettingsError(f"--handler {handler!r}: there are {', '.join(known) or 'none; set INGEST_HANDLERS'}.")
    if not force_types:
        wanted = replaying.narrowed(known[handler], asked := wanted)
        if left_out := set(asked.types).difference(wanted.types):
            click.echo(f"{handler} does not take {', '.join(sorted(left_out))}: left out.", err=True)
    with Store.open(settings.database) as store:
        name = replaying.name_of(handler, wanted)
        if restart:
            replaying.forget(store, name)
        before = replaying.begun(store, name)
        try:
            with dead_letters.progress("replaying", store.count(wanted), before) as step:
                done = replaying.replay(store, handler, wanted, rate, step)
        except KeyboardInterrupt:
            click.echo("Interrupted; the same command continues from here.", err=True)
            raise click.exceptions.Exit(130) from None
        finally:
            _wake()
    click.echo(f"{counted(done, 'event')} handed to {handler}{f', after {before:,} before' if before else ''}.")


COMMANDS = (failed, replay)
