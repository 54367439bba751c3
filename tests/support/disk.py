"""Disks that can be full: a small tmpfs where one may mount it, else a limit on the size of files."""

import os
import resource
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

#: Bytes of a small disk: what a run can write fits several times.
SIZE = 512 * 1024 * 1024
#: Bytes that a "full" disk may still have: less than any write of ours.
LEFT = 4096


class Disk:
    """A folder that can be filled."""

    def __init__(self, folder: Path, size: int = SIZE) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "ingest-chaos", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
            self.mounted = done.returncode == 0
        except FileNotFoundError:
            self.mounted = False

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        """Leave no room."""
        with self._ballast.open("wb") as file:
            end = 0
            while room := self._room():
                try:
                    os.posix_fallocate(file.fileno(), end, room)
                except OSError:
                    break
                end += room

    def _room(self) -> int:
        room = os.statvfs(self.folder)
        free = room.f_bavail * room.f_frsize
        return free if free > LEFT else 0

    def free(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)

    def make_read_only(self, read_only: bool = True) -> bool:
        """As the system does after an error of the disk, or as before; False while a process writes to it."""
        how = f"remount,{'ro' if read_only else 'rw'}"
        return (
            subprocess.run(["mount", "-o", how, str(self.folder)], capture_output=True, check=False).returncode
            == 0
        )

    def limit(self, pids: Iterable[int]) -> None:
        """Where nothing could be mounted: no file of these processes may grow beyond the largest there is."""
        largest = max((path.stat().st_size for path in self.folder.rglob("*") if path.is_file()), default=0)
        _limit(pids, largest + LEFT)

    def unlimit(self, pids: Iterable[int]) -> None:
        """Lift that limit."""
        _limit(pids, resource.RLIM_INFINITY)

    def unmount(self, keep: Path | None) -> None:
        """Take the disk away, and with `keep` put what was on it there."""
        if not self.mounted:
            return
        self.free()
        if keep is not None:
            subprocess.run(["cp", "-a", f"{self.folder}/.", str(keep)], check=False)
        # Lazily: a process that is just ending may still have a file of it open.
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)


def _limit(pids: Iterable[int], size: int) -> None:
    for pid in pids:
        with suppress(OSError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
