"""Commands as typed, in the test's own process."""

import json
import os
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner, Result

from ingest.cli.main import main
from tests.support.running import clean_environ

#: No PostgreSQL listens there.
NOWHERE = "postgresql://u:geheim@127.0.0.1:1/d"


#: As shells have it, whatever the machine that tests has: Python holds output back unless it is told not to.
BUFFERED = {"PYTHONUNBUFFERED": ""}


def typed(*arguments: str, environ: dict[str, str], answer: str = "") -> Result:
    """A command in this process; `answer` is typed when it asks."""
    unset = {name: None for name in os.environ if name not in clean_environ()}
    with patch("ingest.log.set_up"):
        done = CliRunner().invoke(main, arguments, input=answer, env={**unset, **environ})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def findings(environ: dict[str, str]) -> tuple[int, dict[str, tuple[str, str]]]:
    done = typed("check", "--json", environ=environ)
    return done.exit_code, {one["about"]: (one["level"], one["text"]) for one in json.loads(done.stdout)}


def status_figures(environ: dict[str, str]) -> tuple[int, dict[str, Any]]:
    done = typed("status", "--json", environ=environ)
    return done.exit_code, json.loads(done.stdout)
