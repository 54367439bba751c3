"""Log lines as JSON, made by structlog: one object on each line.

    time       ISO 8601 in UTC, with µs
    level      debug, info, warning, error
    event      the kind of line: the same words whatever it tells of
    message    what the line of text says
    process    web.1, worker.events, …; with `pid` and `host`
    logger     the module that says it
    exception  the traceback, where there is one

and what else belongs to it, such as `delivery_id` and `handler`.
"""

import logging
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from ingest import shown

#: What a line may say besides, where its code gives it as `extra`.
EXTRA = ("delivery_id", "batch_id", "handler", "day", "code", "attempt", "trace_id")
#: Words of its text that the name of a kind of line has at most.
NAME_WORDS = 8

_PLACEHOLDER = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?[a-zA-Z%]")
_WORD = re.compile(r"[a-z0-9]+")


@lru_cache(maxsize=1024)
def event_name(template: str) -> str:
    """The name of a kind of line, from its text without what changes: `calls-are-answered-503-so-far`."""
    words = _WORD.findall(_PLACEHOLDER.sub(" ", template).lower())
    return "-".join(words[:NAME_WORDS]) or "message"


def formatter(process: Callable[[], str]) -> logging.Formatter:
    """What makes JSON of log records, ours and those of libraries; `process` says what the process is called."""

    def lay_out(_logger: WrappedLogger, _method: str, said: EventDict) -> EventDict:
        record: logging.LogRecord = said["_record"]
        told = {name: said[name] for name in EXTRA if name in said}
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", None) or event_name(str(record.msg)),
            "message": said["event"],
            "process": process(),
            "pid": record.process,
            "host": _host,
            "logger": record.name,
            **told,
        }
        for name in ("exception", "stack"):
            if name in said:
                line[name] = said[name]
        return line

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.ExtraAdder(allow=EXTRA),
            structlog.processors.StackInfoRenderer(),
        ],
        processors=[
            structlog.processors.format_exc_info,
            lay_out,
            structlog.processors.JSONRenderer(serializer=_dump),
        ],
    )


_host = socket.gethostname()


#: Handlers log what they like.
_ANY_KEYS = orjson.OPT_NON_STR_KEYS


def _dump(line: dict[str, Any], **_options: Any) -> str:
    """One line of JSON that neither shows a secret nor steers a terminal."""
    clean = {
        name: shown.without_secrets(value) if isinstance(value, str) else value for name, value in line.items()
    }
    try:
        text = orjson.dumps(clean, default=str, option=_ANY_KEYS).decode()
    except TypeError:  # a lone surrogate, which stands for a byte that is no UTF-8
        proper = {name: _proper(value) for name, value in clean.items()}
        text = orjson.dumps(proper, default=str, option=_ANY_KEYS).decode()
    return shown.escaped_json(text)


def _proper(value: object) -> object:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
