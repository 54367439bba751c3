"""Asking a person before something is done that cannot be undone."""

import sys

import click


def agreed(question: str) -> None:
    """Go on only if somebody at a terminal says yes.

    Raises:
        click.UsageError: nobody can be asked: standard input is no terminal.
        click.Abort: they did not say yes.
    """
    require_somebody()
    click.confirm(question, abort=True, err=True)


def require_somebody() -> None:
    """Refuse to go on where nobody can be asked, before any work is done.

    Raises:
        click.UsageError: standard input is no terminal.
    """
    if not somebody_is_there():
        raise click.UsageError("Nobody can be asked, since this is no terminal: add --yes.")


def somebody_is_there() -> bool:
    """Whether standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()
