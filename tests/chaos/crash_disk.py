"""A small disk of its own, whose image at any moment is what a loss of power would leave."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.running import until

#: Bytes of the disk.
SIZE = 512 * 1024 * 1024


@contextmanager
def disk() -> Iterator["Disk"]:
    """A disk of its own for as long as the block runs."""
    # A short path: Unix sockets lie on it.
    folder = Path(tempfile.mkdtemp(prefix="crash-", dir="/tmp"))
    folder.chmod(0o755)  # PostgreSQL runs as nobody
    made = Disk(folder)
    try:
        made.mount()
        yield made
    finally:
        made.unmount()
        shutil.rmtree(folder, ignore_errors=True)


class Disk:
    """A file system in a file."""

    def __init__(self, folder: Path) -> None:
        self._image = folder / "image"
        self.path = folder / "disk"
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(SIZE)
        # Without lazy work in the background, which would go on writing while the image is copied.
        subprocess.run(
            ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image)], check=True
        )

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.path)], check=True)
        self.path.chmod(0o755)

    def unmount(self) -> None:
        # What was killed a moment ago may keep it busy for another.
        until(self._unmounted, "an idle disk", 10)

    def _unmounted(self) -> bool:
        if not os.path.ismount(self.path):
            return True
        return not subprocess.call(["umount", str(self.path)], stderr=subprocess.DEVNULL)

    def copy(self) -> Path:
        """Its image as it is at this moment: without what the kernel has not written yet."""
        copied = self._image.with_name("copy")
        subprocess.run(["cp", "--sparse=always", str(self._image), str(copied)], check=True)
        return copied

    def replace(self, image: Path) -> None:
        """Another image in its place."""
        self.unmount()
        image.replace(self._image)
        self.mount()


def possible() -> bool:
    """Whether a disk can be mounted here."""
    if os.getuid() != 0 or shutil.which("mkfs.ext4") is None or not Path("/dev/loop-control").exists():
        return False
    try:
        with disk():
            return True
    except subprocess.CalledProcessError:
        return False
