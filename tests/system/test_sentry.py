"""What is reported to Sentry says what went wrong where, and nothing of any call."""

import logging
import subprocess
import sys
import zlib
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from ingest import sentry
from ingest.errors import SettingsError
from ingest.settings import Settings
from tests.support.http import Script, listening
from tests.support.running import clean_environ
from tests.support.source import ROOT

#: A process of its own: what Sentry's library patches stays patched.
PROGRAM = """
import logging, os, sys, threading
from ingest import log, sentry
from ingest.settings import Settings
settings = Settings.read()
log.set_up("info")
sentry.FLUSH_SECONDS = 25  # a slow machine may take its time
sentry.set_up(settings, "worker.handlers")
recipient = "variable@example.nl"
try:
    raise ValueError("no such person: jan.d%40example.nl, <zoë@exämple.nl>; geheim-wachtwoord\\x1b[31m")
except ValueError:
    logging.getLogger("workers.handlers").exception("handler %s failed for %s", "crm", "piet@example.nl")
logging.getLogger("x").warning("nothing to report")
sentry.flush()  # nothing is on its way when it forks
child = os.fork()
if not child:
    logging.getLogger("x").error("said by a work-horse")
    sentry.flush()
    os._exit(0)
os.waitpid(child, 0)
sentry.flush()
"""


@pytest.fixture
def receiver() -> Iterator[Script]:
    with listening() as script:
        yield script


def reports(receiver: Script) -> list[dict[str, Any]]:
    found = []
    for seen in receiver.seen:
        body = zlib.decompress(seen.body, 31) if seen.headers.get("content-encoding") == "gzip" else seen.body
        lines = body.split(b"\n")
        if orjson.loads(lines[1])["type"] == "event":
            found.append(orjson.loads(lines[2]))
    return found


def test_a_report_has_a_traceback_and_nothing_personal(receiver: Script) -> None:
    place = receiver.url.partition("://")[2].partition("/")[0]
    environ = {"SENTRY_DSN": f"http://geheimesleutel@{place}/1", "REDIS_URL": "redis://u:geheim-wachtwoord@h/0"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=clean_environ() | environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "geheim" not in done.stderr
    first, second = sorted(reports(receiver), key=lambda report: "exception" not in report)
    assert second["logentry"]["formatted"] == "said by a work-horse"
    (failure,) = first["exception"]["values"]
    assert (failure["type"], failure["stacktrace"]["frames"][-1]["lineno"]) == ("ValueError", 11)
    assert failure["value"] == "no such person: ***, <***>; ***\\x1b[31m"
    assert first["logentry"]["formatted"] == "handler crm failed for ***"
    assert first["tags"] == {"process": "worker.handlers"}
    assert first["release"].startswith("copernica-ingest@")
    everything = str([first, second])
    for word in (
        "jan",
        "zoë",
        "piet",
        "variable@",
        "geheim-wachtwoord",
        "'vars'",
        "breadcrumbs",
        "'user'",
        "request",
    ):
        assert word not in everything, word


def test_without_a_dsn_nothing_is_loaded() -> None:
    code = "import sys; from ingest import sentry, settings; sentry.set_up(settings.Settings.read({}), 'x'); "
    code += "sentry.flush(); assert 'sentry_sdk' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)
    assert logging.getLogger("sentry_sdk").handlers == []


def test_a_dsn_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError, match="SENTRY_DSN cannot be used") as refused:
        sentry.set_up(Settings.read({"SENTRY_DSN": "https://geheim.example.nl/x"}), "x")
    assert "geheim" not in str(refused.value)
