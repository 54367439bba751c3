"""Hosts whose disk goes with the process, known by the variables that they set."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ingest import disks


class Platform(NamedTuple):
    """A host that starts each process on a disk of its own, and throws that away afterwards."""

    name: str
    #: The variable by which it is known.
    variable: str
    #: Whether a disk that stays can be mounted.
    has_volumes: bool


PLATFORMS = (
    Platform("Heroku", "DYNO", has_volumes=False),
    Platform("Google Cloud Run", "K_SERVICE", has_volumes=False),
    Platform("Google App Engine", "GAE_INSTANCE", has_volumes=False),
    Platform("Clever Cloud", "CC_DEPLOYMENT_ID", has_volumes=False),
    Platform("Render", "RENDER", has_volumes=True),
    Platform("Railway", "RAILWAY_ENVIRONMENT_ID", has_volumes=True),
    Platform("Fly.io", "FLY_APP_NAME", has_volumes=True),
)
#: What volumes are formatted with; the disk that is thrown away is another kind, or mounted at the root.
VOLUMES = frozenset({"ext3", "ext4", "xfs", "btrfs", "zfs"})


def platform_of(environ: Mapping[str, str]) -> Platform | None:
    """The host that these variables are from; None: none of those above."""
    return next((one for one in PLATFORMS if environ.get(one.variable)), None)


def loses(platform: Platform | None, folder: Path) -> bool:
    """Whether what is written to a folder is gone with the process, as far as can be known."""
    if platform is None:
        return False
    mount = disks.mount(disks.nearest(folder))
    return not (platform.has_volumes and mount.point != Path("/") and mount.type in VOLUMES)
