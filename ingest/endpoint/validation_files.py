"""The files by which SMTPeter sees that a domain is yours, served as they are.

Before webhooks start, SMTPeter asks for a small text file, named like `smtpeter-4f2a9.txt`, at the web root or in
the folder of the callback URL (its article on webhooks). `INGEST_VALIDATION_FILES` names the folder in which you
put it. It is looked into at every request, so no restart is needed. The other way is a TXT record in DNS.
"""

import re
from pathlib import Path
from typing import Self

from ingest.errors import SettingsError

#: Names that are served. Nothing else of a request becomes part of a path on disk.
NAME = re.compile(r"smtpeter-[A-Za-z0-9_-]{1,100}\.txt")
#: Bytes of the largest file that is served; real ones hold a line.
MAX_SIZE = 64 * 1024


class ValidationFiles:
    """What is in the folder, by the path at which it is asked for."""

    def __init__(self, folder: Path, path: str) -> None:
        """`path` is where webhooks are taken."""
        self._folder = folder
        self._path = path

    @classmethod
    def from_folder(cls, folder: Path | None, path: str) -> Self | None:
        """The same, or None if no folder is named."""
        return None if folder is None else cls(folder, path)

    def require(self) -> None:
        """See that the folder is there.

        Raises:
            SettingsError: it is not.
        """
        if not self._folder.is_dir():
            shown = str(self._folder)
            raise SettingsError(f"INGEST_VALIDATION_FILES={shown!r} is no folder: make it, or name another.")

    def find(self, asked: str) -> bytes | None:
        """The content of the file at the path of a URL; None if there is none, or it is not to be served."""
        place, _, name = asked.rpartition("/")
        if not NAME.fullmatch(name) or not self._is_place(place):
            return None
        try:
            return self._read(name)
        except OSError:
            return None

    def _is_place(self, place: str) -> bool:
        """The web root, or where a callback URL can be: the folder that our path is in, and everything below."""
        return place in ("", self._path.rpartition("/")[0], self._path) or place.startswith(f"{self._path}/")

    def _read(self, name: str) -> bytes | None:
        folder = self._folder.resolve()
        path = (folder / name).resolve(strict=True)
        # A link may stay in the folder, as where Kubernetes mounts files, but not lead out of it.
        if folder not in path.parents or not path.is_file() or path.stat().st_size > MAX_SIZE:
            return None
        return path.read_bytes()
