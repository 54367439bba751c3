"""The page of the settings: what `ingest.setting_catalogue` says, with types and limits of `ingest.settings`."""

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import ByteSize
from pydantic.fields import FieldInfo

from ingest import privacy_settings
from ingest import setting_values as values
from ingest.privacy_settings import PrivacySettings
from ingest.redis_settings import RedisSettings
from ingest.setting_catalogue import SECTIONS, Setting
from ingest.settings import Settings
from ingest.sink_settings import SinkSettings
from tests.support.reference.markdown import code, page, table, with_links
from workers.operations.config import text_of

INTRODUCTION = """\
Every process reads the same settings, from the environment and from a file: `.env` in the working directory, or
the one that `--env-file` names. What the environment sets wins, also where it is empty. An empty one counts as
not set, except `INGEST_SPOOL_DIR`. A name that begins with `INGEST_` and is none of these is an error. Processes
read their settings when they start: after a change, start again all that use it.

```
ingest config                      # every setting as it counts here, and where it comes from
ingest config --check              # what is wrong with them, if anything
ingest config INGEST_SPOOL_MAX     # of one: its value, what it means, and what happens if it is wrong
```

A value that cannot be used ends each command and each process at its start, with exit code 2 and one sentence
that names it. The tables say what happens if a value can be used and is the wrong one. `ingest dev` and `ingest
all` start all kinds of processes, so they use every setting. A code in brackets leads to the
[runbook](../runbook.md)."""

#: What the types of fields are called.
TYPES: dict[object, str] = {
    str: "text",
    Path: "folder",
    bool: "`on` or `off`",
    ByteSize: "size: `500000`, `64MiB`, `1GiB`",
    values.CommaList: "names, with commas",
    values.RedisAddress: "URL; secret",
    values.RedisAddresses: "URLs, with commas; secret",
    values.RedisTLS: "`verify`, `no-verify` or `ca:` and a file",
    values.DatabaseAddress: "URL; secret",
    values.LogLevel: "`debug`, `info`, `warning` or `error`",
    values.LogFormat: "`text` or `json`",
    values.PlainPath: "path",
    values.YesOrNo: "`yes` or `no`",
    values.HostNames: "names of hosts, with commas",
    values.Accounts: "accounts, with commas",
    values.ZoneName: "time zone",
    values.TimeOfDay: "`HH:MM`, or `off`",
    values.Resolvers: "addresses, with commas",
    values.Token: "one word; secret",
    values.MetricsPort: "port, or `off`",
    values.SigningSecret: "one word; secret",
    values.Password: "text; secret",
    values.HeaderName: "name of a header",
    values.Networks: "addresses and networks, with commas",
    values.SecretURL: "URL; secret",
    values.MailRoute: "URL; secret",
    values.PlainURL: "URL",
    privacy_settings.Parts: "`recipient`, `ip`, or both with a comma",
    privacy_settings.Keys: "one or several with commas; secret",
    privacy_settings.DaysOfTypes: "types and days, with commas",
}
#: Fields of plain text that are something more particular.
PARTICULAR = {
    "INGEST_FORWARD_URL": "URLs, with commas; secret",
    "INGEST_FORWARD_SECRET": "base64, several with commas; secret",
    "INGEST_CLICKHOUSE_URL": "URL; secret",
    "INGEST_KAFKA_URL": "URL; secret",
    "INGEST_REDIS_CERT": "file",
    "INGEST_REDIS_KEY": "file",
    "INGEST_ENV_FILE": "file, or `off`",
    "INGEST_SPOOL_DIR": "folder, or `off`",
    "INGEST_EXPORT_TO": "folder, or URL of a bucket",
    "INGEST_KEYS": "`dns`, or a file",
    "HOST": "address",
    "INGEST_METRICS_HOST": "address",
    "INGEST_CONSOLE_HOST": "address",
}


def made() -> str:
    """The page."""
    return page("Settings", INTRODUCTION, *_sections())


def _sections() -> Iterator[str]:
    fields = Settings.names()
    for heading, settings in SECTIONS.items():
        yield f"## {heading}"
        rows = [
            (code(one.name), _type(one, fields[one.name]), _default(one, fields[one.name])) for one in settings
        ]
        yield table(("setting", "type", "if it is not set"), rows)
        yield from map(_told, settings)


def _told(setting: Setting) -> str:
    facts = [
        f"### {setting.name}",
        with_links(setting.means),
        f"- **If it is wrong**: {with_links(setting.if_wrong)}",
        f"- **Used by**: {', '.join(setting.read_by)}.",
        *([f"- **Example**: `{setting.name}={setting.example}`"] if setting.example else []),
    ]
    return "\n\n".join(facts[:2]) + "\n\n" + "\n".join(facts[2:])


def _default(setting: Setting, field: FieldInfo) -> str:
    if setting.unset:
        return setting.unset
    shown = text_of(field.get_default())
    return f"{code(shown)}{f' {setting.unit}' if setting.unit and shown.isdecimal() else ''}"


def _type(setting: Setting, field: FieldInfo) -> str:
    """What it may be, in words, with its limits."""
    if setting.name in PARTICULAR:
        return PARTICULAR[setting.name]
    kind = _declared(setting.name)
    if kind is int:
        least = next(f"{one.ge:,}" for one in field.metadata if isinstance(one, Ge))
        most = next((f"to {one.le:,}" for one in field.metadata if isinstance(one, Le)), "or more")
        return f"number{f' of {setting.unit}' if setting.unit else ''}, {least} {most}"
    if get_origin(kind) is Literal:
        return " or ".join(map(code, get_args(kind)))
    return TYPES[kind]


def _declared(name: str) -> Any:
    """The type that the field was declared with, without `None`; whatever pydantic has made of it."""
    for model in (Settings, RedisSettings, SinkSettings, PrivacySettings):
        for attribute, kind in model.__annotations__.items():
            if Settings.model_fields[attribute].alias == name if attribute in Settings.model_fields else False:
                return _without_none(kind)
    raise KeyError(name)


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType) and kind not in TYPES:
        return next(one for one in get_args(kind) if one is not type(None))
    return kind
