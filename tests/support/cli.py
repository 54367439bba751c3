"""Commands as typed, in the test's own process."""

import json
import os
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner, Result

from ingest.cli.main import main
from tests.support.runbook import is_shown
from tests.support.running import clean_environ

#: No PostgreSQL listens there.
NOWHERE = "postgresql://u:geheim@127.0.0.1:1/d"


#: As shells have it, whatever the machine that tests has: Python holds output back unless it is told not to.
BUFFERED = {"PYTHONUNBUFFERED": ""}


def typed(*arguments: str, environ: dict[str, str], answer: str = "") -> Result:
    """A command in this process; `answer` is typed, as at a terminal, when it asks."""
    unset = {name: None for name in os.environ if name not in clean_environ()}
    # What a file sets is in the environment of the process afterwards: of no other test's.
    asked = patch("ingest.cli.asking.somebody_is_there", return_value=bool(answer))
    with patch("ingest.log.set_up"), patch.dict(os.environ), asked:
        done = CliRunner().invoke(main, arguments, input=answer, env={**unset, **environ})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


#: The levels of findings, from good to bad.
LEVELS = ("ok", "risk", "wrong")


def findings(environ: dict[str, str]) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code of `ingest check`, and by what they are about the worst level and text of its findings."""
    code, rows = _checked(environ)
    worst: dict[str, tuple[str, str]] = {}
    for one in rows:
        about = one["about"]
        if about not in worst or LEVELS.index(one["level"]) >= LEVELS.index(worst[about][0]):
            worst[about] = (one["level"], one["text"])
    return code, worst


def found(environ: dict[str, str], *arguments: str) -> dict[str, tuple[str, str]]:
    """The findings of `ingest check` that are not well, by their codes: level and text."""
    code, rows = _checked(environ, *arguments)
    assert code == any(one["level"] == "wrong" for one in rows)
    return {one["code"]: (one["level"], one["text"]) for one in rows if one["code"]}


def _checked(environ: dict[str, str], *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """The exit code of `ingest check` and its findings, each of which the runbook describes as it is shown."""
    done = typed("check", "--json", *arguments, environ=environ)
    rows: list[dict[str, str]] = json.loads(done.stdout)
    assert [one for one in rows if one["code"] and not is_shown(one["code"], one["text"])] == []
    return done.exit_code, rows


def status_figures(environ: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """The exit code of `ingest status` and its figures, whose warnings the runbook describes as they are shown."""
    done = typed("status", "--json", environ=environ)
    figures: dict[str, Any] = json.loads(done.stdout)
    assert [one for one in figures["warnings"] if not is_shown(one["code"], one["text"])] == []
    return done.exit_code, figures
