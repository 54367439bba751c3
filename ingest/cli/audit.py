"""Who did what: `ingest audit`, and how commands write down that they were typed."""

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from ingest.cli.interruption import INTERRUPTIONS
from ingest.cli.options import WORDS, json_lines, settings_with
from ingest.cli.paging import no_pager, paged
from ingest.cli.times import with_zone
from ingest.errors import IngestError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from ingest.settings import Settings

log = logging.getLogger(__name__)


@click.command()
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Only so many.")
@click.option("--who", type=WORDS, help="Only what this person did.")
@click.option("--action", type=WORDS, help="Only this: retry, drop, replay, erase, pause, reconcile, …")
@click.option("--recipient", type=WORDS, help="Only when this person was erased; the audit has no addresses.")
@json_lines("entry")
@no_pager
@with_zone
def audit(
    limit: int,
    who: str | None,
    action: str | None,
    recipient: str | None,
    as_json: bool,
    no_pager: bool,
    zone: "ZoneInfo",
) -> None:
    """Show who did what, from the console or by a command, the newest first."""
    from ingest.cli.render import actions as render
    from workers.operations.audit import entries
    from workers.store.store import Store

    with Store.of(settings_with()) as store, paged(not no_pager):
        render.entries(entries(store, limit, who=who, action=action, recipient=recipient), zone, as_json)


class Counted:
    """How many a command has affected so far; None while there is nothing to count. And `what` else is known."""

    def __init__(self, what: dict[str, object] | None = None) -> None:
        self.number: int | None = None
        self.what = {} if what is None else what

    def set(self, number: int) -> int:
        """That many, all in all."""
        self.number = number
        return number


@contextmanager
def noted(settings: "Settings", action: str, what: Mapping[str, object]) -> Iterator[Counted]:
    """Write down that this block is done, by whom, and what came of it; no command fails because that cannot be.

    What was not said (None, or empty) is left out of `what`. In the block nothing of this has the database open.
    """
    said = {name: value for name, value in what.items() if value not in (None, False, (), "")}
    counted = Counted(said)
    number = _begun(settings, action, said)
    try:
        yield counted
    except BaseException as error:
        _ended(settings, number, counted, _why(error))
        raise
    else:
        _ended(settings, number, counted, None)


def _begun(settings: "Settings", action: str, said: Mapping[str, object]) -> int | None:
    """Write down that it begins; returns the number of the entry, None if there is none."""
    from workers.operations import audit as book
    from workers.store.store import Store

    try:
        with Store.of(settings) as store:
            return book.begin(store, person(), book.COMMAND, action, said, socket.gethostname())
    except IngestError as error:
        log.warning("what is done now is not in the audit: %s", error)
        return None


def _why(error: BaseException) -> str | None:
    """Why a command is left by this; None if it has done what it should."""
    from workers.operations import audit as book

    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SystemExit | Exit):
        code = error.exit_code if isinstance(error, Exit) else error.code
        return None if code in (0, None) else "interrupted" if code in INTERRUPTIONS else "not all of it"
    return book.why(error)


def _ended(settings: "Settings", number: int | None, counted: Counted, why: str | None) -> None:
    """Write down how it ended, where it is written that it began."""
    from workers.operations import audit as book
    from workers.store.store import Store

    if number is None:
        return
    try:
        with Store.of(settings) as store:
            book.end(store, number, counted.number, why, counted.what)
    except IngestError as unavailable:
        log.warning("how this ended is not in the audit: %s", unavailable)


def person() -> str:
    """Who typed this: the system's user, and behind `sudo` whoever that was."""
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER", "") if os.getuid() == 0 else ""
    return f"{behind} (sudo)" if behind and behind != name else name


COMMANDS = (audit,)
