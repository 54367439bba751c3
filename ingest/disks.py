"""What kind of disk a folder is on: one that lasts, one that vanishes, or one that is somewhere else."""

import re
from pathlib import Path
from typing import NamedTuple

#: Filesystems whose content is lost with the machine or the container, and why.
EPHEMERAL = {
    "tmpfs": "is memory: a restart of the machine empties it",
    "ramfs": "is memory: a restart of the machine empties it",
    "overlay": "is the container's own layer, which is deleted with the container: mount a volume there",
    "aufs": "is the container's own layer, which is deleted with the container: mount a volume there",
}
#: Filesystems on other machines, where locks and fsync cannot be relied on, or take as long as the network does.
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs"})
#: How the names of those begin that are programs of users.
FUSE_NETWORK = ("fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.glusterfs", "fuse.ceph")
#: Where Linux lists what is mounted; in paths, blanks are written as `\040`.
MOUNTS = Path("/proc/mounts")


def is_network(kind: str) -> bool:
    """Whether a filesystem of this type is on another machine."""
    return kind in NETWORK or kind.startswith(FUSE_NETWORK)


def nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists.

    Raises:
        OSError: it cannot be seen whether they exist.
    """
    found = path.absolute()
    while not found.exists():
        found = found.parent
    return found


class Mount(NamedTuple):
    """A filesystem: where it begins, and its type, such as `ext4`."""

    point: Path
    type: str


def filesystem(path: Path) -> str:
    """The type of the filesystem that a path is on, such as `ext4`; empty where the system does not tell."""
    return mount(path).type


def mount(path: Path) -> Mount:
    """The filesystem that a path is on; without a type where the system does not tell."""
    found = Mount(Path("/"), "")
    try:
        lines = [line.split() for line in MOUNTS.read_text(errors="surrogateescape").splitlines()]
    except OSError:
        return found
    real = path.resolve()
    for line in lines:
        where = Path(_unescaped(line[1]))
        # What was mounted last at a place hides what was there before.
        if real.is_relative_to(where) and len(where.parts) >= len(found.point.parts):
            found = Mount(where, line[2])
    return found


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
