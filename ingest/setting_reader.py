"""How settings are read from a mapping of variables, and what is said of those that cannot be used."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import ErrorDetails

from ingest import setting_sources

#: Settings for which an empty value has a meaning of its own.
MEANINGFUL_WHEN_EMPTY = frozenset({"INGEST_SPOOL_DIR"})
#: Settings in which a line end is an error: nobody could type such a password.
AS_THEY_ARE = frozenset({"INGEST_CONSOLE_PASSWORD", "INGEST_CONSOLE_READ_PASSWORD"})
#: What is added where a value is in quotation marks.
QUOTED = " (it is in quotation marks, which `docker --env-file` and Compose's lists keep: leave them out)"


def by_name(names: Iterable[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """Those of these settings that the mapping sets, and nothing else: no file, no environment behind it."""
    values = {}
    for name in names:
        value = environ.get(name)
        if value and name not in AS_THEY_ARE:
            value = value.strip(setting_sources.LINE_ENDS)
        if value and setting_sources.is_service_link(name, value):
            continue
        if value or (value == "" and name in MEANINGFUL_WHEN_EMPTY):
            values[name] = value
    return values


def undecodable(environ: Mapping[str, str], names: Iterable[str]) -> Iterator[str]:
    """A sentence for each of these variables that is no text: neither URLs nor log lines could be made of it.

    In a locale of ASCII alone, text is kept as the bytes that it came as, like what is none; so those decide.
    """
    for name in names:
        try:
            with suppress(UnicodeEncodeError):  # text of a file, which this locale could not have had
                os.fsencode(environ.get(name, "")).decode()
        except UnicodeDecodeError:
            yield f"{name} cannot be used: it has bytes that are not UTF-8; write it in ASCII, or in UTF-8."


def sentence(error: ErrorDetails, secret: bool) -> str:
    """What is wrong with a value, which is not shown if it may be a secret."""
    name, why = str(error["loc"][0]), error["msg"].removeprefix("Value error, ")
    given = str(error["input"])
    value = "" if secret else f"={given[:100]!r}"
    quoted = len(given) > 1 and given[0] == given[-1] and given[0] in "\"'"
    return f"{name}{value} cannot be used: {why}{QUOTED if quoted else ''}."
