"""What the peers need, in a folder of its own: nothing is installed for the whole machine, and nothing is started.

Each comes by the ordinary client of its registry (uv or pip, npm, apt-get), at the version that is named here;
what apt downloads is only unpacked. What cannot be installed raises `NotInstalled`, and the others go on.
"""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.servers import ROOT

#: Where everything goes; it may be deleted at any time.
CACHE = Path(os.environ.get("PEERS_CACHE") or ROOT / ".peers").absolute()
#: Seconds that one step of an installation may take.
PATIENCE = 300.0
#: In a folder: that all of it is there.
DONE = ".installed"


class NotInstalled(Exception):
    """A peer cannot be installed here; the text says why, in one line."""


def python(name: str, *packages: str) -> Path:
    """The interpreter of an environment that has these packages."""
    folder = CACHE / "python" / name
    interpreter = folder / "bin" / "python"
    if _is_there(folder, packages):
        return interpreter
    uv = Path(sys.prefix) / "bin" / "uv"  # takes a tenth of what pip does, which compiles all that it installs
    venv.create(folder, with_pip=not uv.exists(), clear=True)
    if uv.exists():
        _run([uv, "pip", "install", "--quiet", "--no-config", "--python", interpreter, *packages])
    else:
        _run([interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    _is_done(folder, packages)
    return interpreter


def node(name: str, *packages: str) -> Path:
    """A folder with these packages in its `node_modules`."""
    folder = CACHE / "node" / name
    if _is_there(folder, packages):
        return folder
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotInstalled("there is no node, or no npm")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    _run(["npm", "install", "--prefix", folder, *quiet, *packages])
    _is_done(folder, packages)
    return folder


def debian(name: str, *packages: str) -> Path:
    """A folder in which these packages, and what they need that this machine lacks, are unpacked."""
    folder = CACHE / "debian" / name
    if _is_there(folder, packages):
        return folder
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotInstalled("there is no apt-get: this is no Debian")
    shutil.rmtree(folder, ignore_errors=True)
    archives = _archives(name)
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    options = [f"Dir::Cache::Archives={archives}", "Debug::NoLocking=1", "APT::Sandbox::User="]
    command = ["apt-get", "install", "--download-only", "--no-install-recommends", "--yes", "-qq"]
    _run([*command, *(part for option in options for part in ("-o", option)), *packages])
    found = sorted(archives.glob("*.deb"))
    if not found:
        raise NotInstalled("apt-get downloaded nothing: it is installed for the whole machine already")
    for archive in found:
        _run(["dpkg-deb", "--extract", archive, folder])
    _is_done(folder, packages)
    return folder


def program(folder: Path, path: str) -> Path:
    """A program of an unpacked package; that of the machine if apt left the package out for being installed."""
    unpacked, own = folder / path, Path("/") / path
    return unpacked if unpacked.exists() or not own.exists() else own


def versions() -> dict[str, str]:
    """What is there, by the name of each peer, with its version."""
    found = {}
    for done in sorted(CACHE.glob(f"*/*/{DONE}")):
        folder = done.parent
        packages = done.read_text().split("\n")
        if folder.parent.name == "debian":
            archives = (path.name.split("_") for path in sorted(_archives(folder.name).glob("*.deb")))
            packages = [f"{parts[0]} {parts[1].replace('%3a', ':')}" for parts in archives if parts[0] in packages]
        found[folder.name] = " ".join(packages)
    return found


def libraries(folder: Path) -> dict[str, str]:
    """The environment in which a program finds the libraries that were unpacked beside it."""
    found = {str(path.parent) for path in folder.glob("**/lib/**/*.so*")}
    return {"LD_LIBRARY_PATH": ":".join(sorted(found))}


def current() -> Path:
    """The interpreter that runs this: for what our own development environment has."""
    return Path(sys.executable)


def _archives(name: str) -> Path:
    """Where apt downloads to."""
    return CACHE / "debian" / f"{name}.archives"


def _is_there(folder: Path, packages: Sequence[str]) -> bool:
    """Whether exactly these are there, wholly."""
    try:
        return (folder / DONE).read_text() == "\n".join(packages)
    except OSError:
        return False


def _is_done(folder: Path, packages: Sequence[str]) -> None:
    (folder / DONE).write_text("\n".join(packages))


def _run(command: Sequence[str | Path]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]}: {error}") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise NotInstalled(f"{Path(command[0]).name} failed: {lines[-1].strip()}")
