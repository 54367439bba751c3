"""The files that prove to SMTPeter that a domain is yours, served unchanged.

Before webhooks start, SMTPeter requests a small text file, named like `smtpeter-4f2a9.txt`, at the web root or in
the folder of the callback URL (its article on webhooks). Put the file in the folder that `INGEST_VALIDATION_FILES`
names; it is read at each request, so no restart is needed. A TXT record in DNS proves the same.
"""

import re
from pathlib import Path
from typing import Self

from ingest.errors import SettingsError

#: Names that are served: no other part of a request is used in a path on disk.
NAME = re.compile(r"smtpeter-[A-Za-z0-9_-]{1,100}\.txt")
#: Bytes of the largest file that is served; real ones hold one line.
MAX_SIZE = 64 * 1024


class ValidationFiles:
    """The files in one folder, served at the paths where SMTPeter looks for them."""

    def __init__(self, folder: Path, path: str) -> None:
        """`path` is where webhooks are taken."""
        self._folder = folder
        self._path = path

    @classmethod
    def from_folder(cls, folder: Path | None, path: str) -> Self | None:
        """None if no folder is configured."""
        return None if folder is None else cls(folder, path)

    def require(self) -> None:
        """Check that the folder exists.

        Raises:
            SettingsError: it does not.
        """
        if not self._folder.is_dir():
            shown = str(self._folder)
            raise SettingsError(f"INGEST_VALIDATION_FILES={shown!r} is not a folder: create it, or name another.")

    def find(self, url_path: str) -> bytes | None:
        """The content of the file at the path of a URL; None if there is none, or it must not be served."""
        parent, _, name = url_path.rpartition("/")
        if not NAME.fullmatch(name) or not self._may_hold_files(parent):
            return None
        try:
            return self._read(name)
        except OSError:
            return None

    def _may_hold_files(self, parent: str) -> bool:
        """Whether this is the web root or the folder of a callback URL: the one of our path, or any below it."""
        return parent in ("", self._path.rpartition("/")[0], self._path) or parent.startswith(f"{self._path}/")

    def _read(self, name: str) -> bytes | None:
        folder = self._folder.resolve()
        path = (folder / name).resolve(strict=True)
        # A link may point within the folder, as those that Kubernetes mounts do, but not out of it.
        if folder not in path.parents or not path.is_file() or path.stat().st_size > MAX_SIZE:
            return None
        return path.read_bytes()
