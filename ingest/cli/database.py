"""The commands that look after the database: db upgrade, pseudonymise, backup, restore, adopt."""

from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingest.cli import asking
from ingest.cli.amount import Amount
from ingest.cli.audit import noted
from ingest.cli.interruption import interruptible
from ingest.cli.options import json_document, settings_with
from ingest.errors import SettingsError, Unavailable
from ingest.shown import counted

if TYPE_CHECKING:
    from ingest.settings import Settings
    from workers.store.store import Store

_NEW = click.Path(dir_okay=False, path_type=Path)
_PSEUDONYMISING = "Put pseudonyms in the place of all addresses in {}? This cannot be undone."
_STOPPING = "Store addresses again from now on, here and by all workers without INGEST_PSEUDONYMISE?"
_STOPPED = "Addresses may be stored again; unset INGEST_PSEUDONYMISE everywhere. What has pseudonyms keeps them."


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@click.option("--recount", is_flag=True, help="Count all events anew, after somebody changed the table by hand.")
def upgrade(recount: bool) -> None:
    """Create the tables, or update those of an older release; run this before each new release."""
    from ingest.cli.render import console
    from workers.store.filling import fill
    from workers.store.schema import upgrade as run
    from workers.store.store import Store

    settings = settings_with()
    before, after = run(settings.database)
    click.echo(f"The schema is {'already' if before == after else 'now'} at {after}.")
    # What is new has nobody's data yet, and its audit begins with it.
    changes = recount or before not in (None, after)
    what = {"from": before, "to": after, "recount": recount}
    with (
        noted(settings, "db-upgrade", what) if changes else nullcontext(),
        Store.of(settings) as store,
    ):
        if recount:
            store.count_anew()
        if not store.is_counted:
            again = "Some events are not counted yet: the same command, or the daily job, counts the rest."
            with (
                interruptible(lambda: again),
                console.advancing("counting the events that were there before") as progress,
            ):
                fill(store, progress)
            click.echo(f"{counted(store.stored(), 'event is', 'events are')} counted.")


@db.command()
@click.option(
    "--disk", type=Amount("size"), help="How large the server's disk is, where it is not this machine's."
)
@json_document()
def size(disk: float | None, as_json: bool) -> None:
    """Say how large the database is, how it grows, when the disk is full, and what a retention would do."""
    from ingest.cli.render import growth as render
    from workers.operations.growth import look
    from workers.store.store import Store

    settings = settings_with()
    with Store.of(settings) as store:
        types = dict(settings.retention_types)
        render.growth(look(store, settings.retention_days or 0, disk, types=types), as_json)


@db.command()
@click.option("--dry-run", is_flag=True, help="Only count what would be changed.")
@click.option("--stop", is_flag=True, help="Have addresses stored again from now on.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_document("; with --yes or --dry-run")
def pseudonymise(dry_run: bool, stop: bool, yes: bool, as_json: bool) -> None:
    """Put pseudonyms (INGEST_PSEUDONYMISE) in the place of the addresses that are stored already.

    This cannot be undone. Everything may run meanwhile, and what was ended goes on when it is typed again.
    """
    from workers.operations import pseudonymise as work
    from workers.store.store import Store

    settings = settings_with()
    if stop and dry_run:
        raise click.UsageError("--stop changes no row, so there is nothing for --dry-run to count.")
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json asks nothing: add --yes, or --dry-run.")
    with Store.of(settings) as store:
        if not stop:
            work.pseudonymiser_of(settings, store)  # a mistake is told before anything is asked
        if not (yes or dry_run):
            asking.agreed(_STOPPING if stop else _PSEUDONYMISING.format(settings.shown_database))
        if dry_run:
            _pseudonymise(settings, store, True, as_json)
        elif stop:
            with noted(settings, "pseudonymise", {"stop": True}):
                was = work.stop(store)
            click.echo(_STOPPED if was else "There were none.")
        else:
            with noted(settings, "pseudonymise", {"parts": settings.pseudonymise}) as noting:
                noting.set(_pseudonymise(settings, store, False, as_json))


def _pseudonymise(settings: "Settings", store: "Store", dry_run: bool, as_json: bool) -> int:
    """Do it, or count; returns how many rows changed."""
    from ingest.cli.render import console
    from workers.operations.pseudonymise import Changed
    from workers.operations.pseudonymise import pseudonymise as run

    changed = Changed()
    again = "Nothing was changed." if dry_run else "What was done stays done: type the same again to go on."
    with interruptible(lambda: again), console.advancing("reading all events", as_json) as progress:
        run(settings, store, dry_run, progress, changed)
    if as_json:
        console.print_json(changed.as_dict())
    else:
        has = "would get" if dry_run else "got"
        click.echo(
            f"{counted(changed.events, 'event')}, {counted(changed.quarantined, 'call')} in quarantine and "
            f"{counted(changed.handlers, 'row')} of handlers {has} pseudonyms."
        )
        if changed.busy:
            click.echo(f"{counted(changed.busy, 'group')} of calls are being worked on: type the same again.")
        if changed.unverified:
            click.echo(f"{counted(changed.unverified, 'unverified call')} stay as they came until verified.")
    return changed.events + changed.quarantined + changed.handlers


@db.command()
@click.argument("file", type=_NEW)
def backup(file: Path) -> None:
    """Copy a SQLite database to a new FILE while everything runs; PostgreSQL has pg_dump.

    Only its owner can read it, and it has its name only when it was found whole. Redis and the spool need a backup
    of their own: docs/operations.md.
    """
    from ingest.cli.render import console
    from workers.operations.backup import back_up

    url = settings_with().database
    with (
        interruptible(lambda: "There is no backup."),
        console.advancing("copying the database") as progress,
    ):
        events = back_up(url, file, progress)
    click.echo(f"{file} has {counted(events, 'event')}.")


@db.command()
@click.argument("file", type=_NEW)
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore(file: Path, yes: bool) -> None:
    """Put a copy of the backup FILE in the place of a SQLite database; stop everything before."""
    from workers.operations.backup import restore as run

    settings = settings_with()
    _require_nobody(settings)
    if not yes:
        asking.agreed(f"Put {file} in the place of {settings.shown_database}?")
    with interruptible(lambda: "Look whether the database is there."):
        aside = run(settings.database, file)
    kept = "" if aside is None else f" What was there is {aside}."
    click.echo(f"The database is that of {file}.{kept} Start everything: what it lacks is fetched by itself.")


def _require_nobody(settings: "Settings") -> None:
    """Refuse while workers run: between two jobs they have no database open, and the next would go on by itself.

    Where Redis does not answer, as that of `ingest all` after it was stopped, there are none.
    """
    import redis

    from ingest import redis_client
    from workers.operations.working import workers

    with suppress(redis.RedisError, SettingsError), redis_client.connect(settings.redis) as client:
        if found := len(workers(client)):
            raise Unavailable(
                f"{counted(found, 'worker runs', 'workers run')}: stop all that uses the database first (one "
                "that was killed is listed for some minutes)."
            )


@db.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def adopt(yes: bool) -> None:
    """Have this database take what is in Redis from now on, although that was for another one."""
    from ingest import partitions, redis_client
    from ingest.redis_errors import described
    from workers.gaps import lineage
    from workers.store.store import Store

    settings = settings_with()
    if not yes:
        asking.agreed(f"Store what is in Redis in {settings.shown_database} from now on, and nowhere else?")
    with redis_client.connect(settings.redis) as client, Store.of(settings) as store:
        redis_client.require(client, settings.redis)
        with noted(settings, "adopt", {}), partitions.opened(settings, client) as streams:
            was, error = streams.looked_at(lambda one: lineage.adopt(store, one.client))
            missing = [one.name for one in streams if one.name not in was]
    if error is not None:
        raise Unavailable(
            f"{', '.join(missing)}: {described(error).rstrip('.')}; what is there is not adopted yet: "
            "type the same again once it takes writes."
        )
    click.echo("It was another database's." if any(was.values()) else "It was nobody else's.")


COMMANDS = (db,)
