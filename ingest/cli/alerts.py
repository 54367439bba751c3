"""The commands about alerts: alert test, and what endpoints and workers have done."""

import os
import signal
import sys
from functools import partial

import click

from ingest.cli.options import settings_with
from ingest.errors import SettingsError, Undelivered

#: Seconds after which a look ends, whatever holds it up: before the next begins.
LOOK_SECONDS = 50


@click.group()
def alert() -> None:
    """Be told when something is wrong, by INGEST_ALERT_URL or INGEST_ALERT_SMTP."""


@alert.command()
def test() -> None:
    """Send an alert that says that it is a test, and show whether it was taken.

    The exit code is 1 if one of the receivers did not take it.
    """
    from workers.alerts.delivery import channels
    from workers.alerts.look import trial

    settings = settings_with()
    if not settings.has_alerts:
        raise SettingsError("Nobody is told: set INGEST_ALERT_URL, INGEST_ALERT_SMTP, or both.")
    refused = []
    signal.signal(signal.SIGALRM, _took_too_long)  # a receiver that answers a byte at a time
    for name, send in channels(settings).items():
        signal.alarm(LOOK_SECONDS)
        try:
            send(trial())
        except Undelivered as error:
            refused.append(f"{name}: {error}.")
        else:
            click.echo(f"{name}: taken.")
    signal.alarm(0)
    if refused:
        raise Undelivered(" ".join(refused))


def _took_too_long(_number: int, _frame: object) -> None:
    raise Undelivered(f"the receiver did not come to an end within {LOOK_SECONDS} s")


@alert.command(hidden=True)
@click.option("--worker", is_flag=True)
@click.option("--redis-is-away", is_flag=True)
@click.option("--redis-serves", is_flag=True)
def look(worker: bool, redis_is_away: bool, redis_serves: bool) -> None:
    """Look once whether something is wrong, and tell it: what `ingest.lookout` starts."""
    from ingest.processes import follow_parent
    from workers.alerts import look as looking

    signal.alarm(LOOK_SECONDS)  # its default: the end of this process
    follow_parent(partial(os._exit, 0))
    settings = settings_with()
    if redis_is_away or redis_serves:
        is_taken = looking.redis_is_away(settings, is_over=redis_serves)
        sys.exit(0 if is_taken else 1)  # whoever started this tries again
    else:
        looking.look(settings, worker)


COMMANDS = (alert,)
