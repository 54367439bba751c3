"""Tries whether files can be put at a target, for `ingest check`: by doing it, and deleting what was put."""

from secrets import token_hex

from ingest.errors import Unavailable
from workers.export.targets import target_of

#: How the name of what is put begins: readers of data pass over it.
NAME = "_ingest-check-"


def try_out(to: str) -> str:
    """Put a file, find it, read and delete it; returns the target for people.

    Raises:
        SettingsError, Unavailable: it cannot be done, and why.
        ModuleNotFoundError: it needs what is not installed.
    """
    target, name = target_of(to), f"{NAME}{token_hex(8)}"
    with target.alone():
        try:
            with target.scratch() as path:
                path.write_bytes(b"x")
                stored = target.put(name, path)
            if target.listed("").get(name) != stored or target.read(name) != b"x":
                raise Unavailable(
                    f"{target.shown} does not give back what was put there: export to another place."
                )
        finally:
            target.delete(name)
    return target.shown
