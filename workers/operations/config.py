"""`ingest config`: every setting as it counts, and where it comes from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ByteSize
from pydantic.fields import FieldInfo

from ingest import shown
from ingest.errors import SettingsError
from ingest.setting_sources import COMMAND_LINE, DEFAULT, DEV, Given
from ingest.settings import SHOWN_AS_URLS, Settings


class Effective(NamedTuple):
    """One setting: its variable, its value as it may be shown, and where that comes from."""

    name: str
    value: str
    origin: str


def effective(settings: Settings, given: Given, changes: Mapping[str, Any]) -> list[Effective]:
    """All settings, in the order in which they are documented; `changes` are those of the command line."""
    settings = settings.model_copy(update=dict(changes))
    return [
        Effective(
            name, _value(settings, name, field_name, field, given), _origin(name, field_name, given, changes)
        )
        for field_name, (name, field) in _fields().items()
    ]


def _fields() -> dict[str, tuple[str, FieldInfo]]:
    return {name: (field.alias or name, field) for name, field in Settings.model_fields.items()}


def _origin(name: str, field_name: str, given: Given, changes: Mapping[str, Any]) -> str:
    if field_name in changes:
        return COMMAND_LINE
    if name in given.withheld:
        return DEV
    return given.origins[name] if given.values.get(name) else DEFAULT


def _value(settings: Settings, name: str, field_name: str, field: FieldInfo, given: Given) -> str:
    if name in given.withheld:
        return shown.HIDDEN
    value = _derived(settings, name) or getattr(settings, field_name)
    if name in SHOWN_AS_URLS and value:
        return ",".join(map(shown.url, [value] if isinstance(value, str) else value))
    return shown.HIDDEN if value and not field.repr else text_of(value)


def _derived(settings: Settings, name: str) -> str | None:
    """What counts where nothing is set."""
    try:
        match name:
            case "REDIS_URL":
                return settings.redis
            case "DATABASE_URL":
                return settings.database
            case "INGEST_SPOOL_DIR":
                return str(settings.spool_dir or "off")
    except SettingsError:
        return ""
    return None


def text_of(value: object) -> str:
    """A value as people write it."""
    match value:
        case None:
            return ""
        case bool():
            return "on" if value else "off"
        case ByteSize():
            return value.human_readable().replace(".0", "") if value % 1024 == 0 else str(int(value))
        case tuple():
            return ",".join("=".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in value)
        case Path():
            return str(value)
    return str(value)
