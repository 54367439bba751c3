"""Log lines for people and for collectors: the same said in two forms."""

import json
import logging
import os
import re
import sys

import pytest

from ingest import log, shown
from ingest.json_log import event_name

#: Bytes that are read from a pipe at a time: the last of them are fewer.
PIPE = 4096


def line(
    template: str, *values: object, form: str = "json", error: BaseException | None = None, **extra: str
) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("ingest.x", logging.WARNING, "x.py", 1, template, values, info)
    vars(record).update(extra)
    return log.formatter(form).format(record)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_line_of_json_says_what_the_text_says_and_more() -> None:
    log.call_process("web.1")
    said = json.loads(line("calls go to the spool: %s", "Redis is away", delivery_id="aa", recipient="a@b.nl"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", said.pop("time"))
    assert isinstance(said.pop("pid"), int)
    assert said.pop("host")
    assert said == {
        "level": "warning",
        "event": "calls-go-to-the-spool",
        "message": "calls go to the spool: Redis is away",
        "process": "web.1",
        "logger": "ingest.x",
        "delivery_id": "aa",
    }
    text = line("calls go to the spool: %s", "Redis is away", form="text")
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING calls go to the spool: Redis is away", text)


def test_the_name_of_a_kind_of_line_does_not_change_with_what_it_tells_of() -> None:
    assert json.loads(line("%d of %s: 5%%", 3, "x"))["event"] == "of-5"
    assert json.loads(line("%s", "anything", event="drained"))["event"] == "drained"
    assert event_name("") == event_name("%s") == "message"


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_line_shows_a_secret_or_steers_a_terminal(form: str) -> None:
    shown.keep_secret("redis://u:geheim-999@h/0")
    hostile = "geheim-999 \x1b[31m \u202e \x9b \ud800 \n%s"
    written = line("%s said", hostile, form=form, error=raised(ValueError(hostile)), delivery_id=hostile)
    assert "geheim" not in written
    assert written.replace("\n  ", "").isprintable()
    assert "ValueError: ***" in written
    if form == "json":
        assert json.loads(written)["message"].startswith("*** \x1b[31m")
        assert "\n" not in written


def test_whatever_a_line_is_given_it_is_written() -> None:
    said = json.loads(line("%s", object(), delivery_id=b"\xff"))  # type: ignore[arg-type]
    assert said["delivery_id"]
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, {"not": "text"}, (), None)
    assert json.loads(log.formatter("json").format(record))["message"] == "{'not': 'text'}"


def test_a_process_that_writes_text_does_not_load_what_makes_json() -> None:
    assert "structlog" not in log.formatter("text").__class__.__module__
    assert log.formatter("json").__class__.__module__.startswith("structlog")
    assert "structlog" in sys.modules


def test_a_reader_that_hangs_keeps_nobody_waiting_and_learns_what_it_missed() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", buffering=1) as stream, os.fdopen(reading, "rb", buffering=0) as reader:
        handler = log.Handler(stream)
        handler.setFormatter(log.formatter("text"))
        record = logging.LogRecord("ingest.x", logging.WARNING, "x.py", 1, "é" * 3000, (), None)
        for _ in range(100):  # 600 kB into a pipe of 64: the test would last for ever
            handler.emit(record)
        while len(reader.read(PIPE)) == PIPE:
            pass
        handler.emit(logging.LogRecord("ingest.x", logging.WARNING, "x.py", 1, "again", (), None))
        said = reader.read(PIPE).decode()
    assert re.search(r"nobody read this log for a while: \d\d lines are left out\n.*again\n$", said)
