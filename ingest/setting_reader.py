"""How settings are read from a mapping of variables, and what is said of those that cannot be used."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from ingest import setting_sources

#: Settings for which an empty value has a meaning of its own.
MEANINGFUL_WHEN_EMPTY = frozenset({"INGEST_SPOOL_DIR"})
#: Settings in which a line end is an error: nobody could type such a password.
AS_THEY_ARE = frozenset({"INGEST_CONSOLE_PASSWORD", "INGEST_CONSOLE_READ_PASSWORD"})
#: What is added where a value is in quotation marks.
QUOTED = " (it is in quotation marks, which `docker --env-file` and Compose's lists keep: leave them out)"


class Environ(PydanticBaseSettingsSource):
    """Reads settings from the mapping it is given, by the aliases of the fields, and from nothing else."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._environ = environ

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value of a field (None: not set), its key, and that it need not be parsed as JSON."""
        name = field.alias or field_name
        value = self._environ.get(name)
        if value and name not in AS_THEY_ARE:
            value = value.strip(setting_sources.LINE_ENDS)
        if value and setting_sources.is_service_link(name, value):
            value = None
        return (value if value or name in MEANINGFUL_WHEN_EMPTY else None), name, False

    def __call__(self) -> dict[str, Any]:
        """All values that are set, by alias."""
        values = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, name, _ = self.get_field_value(field, field_name)
            if value is not None:
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
