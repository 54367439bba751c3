"""The manifest of a day: which files there are, what is in them, and whether that is everything."""

import json
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Self

import orjson

from ingest.errors import Unavailable

#: What manifests of this release are like; those of a later one are left alone.
VERSION = 1
#: Which columns files of this release have, and of which types: one more whenever that changes.
COLUMNS = 1


@dataclass(frozen=True, slots=True)
class File:
    """A file of one type. `edition` is that of the manifest with which it came; `changes` is for this program."""

    name: str
    type: str
    rows: int
    bytes: int
    sha256: str
    edition: int
    written_at: str
    changes: str
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is exported of a day.

    `edition` grows by one with each manifest of the day. `complete` is None where nobody knows. What is `frozen`
    is not written any more, since the store no longer has all of it.
    """

    day: str
    format: str
    edition: int
    written_at: str
    over: bool
    complete: bool | None
    frozen: bool
    rows: int
    files: tuple[File, ...] = ()
    zone: str = "UTC"
    columns: int = COLUMNS
    version: int = VERSION

    def as_bytes(self) -> bytes:
        """As it is written."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2)

    @classmethod
    def read(cls, data: bytes | None, where: str) -> Self | None:
        """What `as_bytes` has written; None for anything else, which is written anew.

        Raises:
            Unavailable: a later release wrote it.
        """
        try:
            values: Any = json.loads(data or b"")
            if not isinstance(values, dict):
                return None
            if int(values["version"]) > VERSION or int(values["columns"]) > COLUMNS:
                raise Unavailable(f"A later release wrote {where}: export with that one, or to another place.")
            files = tuple(File(**one) for one in values.pop("files"))
            date.fromisoformat(values["day"])
            return cls(files=files, **{**values, "edition": int(values["edition"])})
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None


def name_of(form: str) -> str:
    """The name of a manifest; it begins with `_` so that whoever reads a folder of data passes it over."""
    return f"_manifest-{form}.json"
