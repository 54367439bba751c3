"""Build the packages and try them as a user would: `make release`. It publishes nothing; see CONTRIBUTING.md.

1. The sources are committed, and CHANGELOG.md has a dated section for this version.
2. A source package and a wheel are built into `dist/`; each holds exactly the files it should.
3. `twine check` accepts both.
4. The wheel is installed into an empty environment, with the newest dependencies that it allows, and outside the
   checkout `ingest dev` takes a simulated call, stores it, and stops on Ctrl-C.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from ingest import __version__

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
UV = ROOT / ".venv" / "bin" / "uv"
NAME = f"copernica_ingest-{__version__}"

#: In the source package besides the code: what it is built from, and what every such package has.
SDIST_FILES = {
    "deploy/redis.conf",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    ".gitignore",
    "PKG-INFO",
}
#: Seconds that `ingest dev` may take to start, to store a call, and to stop. A quiet machine needs a few; on a
#: busy one the first start alone takes more than a minute, since it compiles what was just installed.
PATIENCE = 300.0


def main() -> None:
    """Go through all steps; the first that fails ends it with a sentence."""
    check_sources()
    check_contents(*build())
    call(sys.executable, "-m", "twine", "check", "--strict", *DIST.glob(f"{NAME}*"))
    with tempfile.TemporaryDirectory(prefix="ingest-release-") as folder:
        try_wheel(Path(folder))
    print(f"{NAME}: built in dist/, checked and tried. Nothing was published.")


def check_sources() -> None:
    """What is built must be what is committed, and must have been announced."""
    if changes := output("git", "status", "--porcelain"):
        fail(f"commit or remove these first:\n{changes}")
    if not re.search(
        rf"^## {re.escape(__version__)} - \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M
    ):
        fail(f"CHANGELOG.md has no section `## {__version__} - <date>`")


def build() -> tuple[Path, Path]:
    """The source package and the wheel, made from it."""
    if not UV.exists():
        fail("`make release` needs uv: .venv/bin/pip install uv")
    shutil.rmtree(DIST, ignore_errors=True)
    call(UV, "build", "--quiet", "--out-dir", DIST)
    return DIST / f"{NAME}.tar.gz", DIST / f"{NAME}-py3-none-any.whl"


def check_contents(sdist: Path, wheel: Path) -> None:
    """Both hold every committed file of the two packages, what belongs to it, and nothing else."""
    code = set(output("git", "ls-files", "ingest", "workers").split())
    with tarfile.open(sdist) as archive:
        compare(sdist, (name.removeprefix(f"{NAME}/") for name in archive.getnames()), code | SDIST_FILES)
    with zipfile.ZipFile(wheel) as archive:
        names = (name for name in archive.namelist() if not name.startswith(f"{NAME}.dist-info/"))
        compare(wheel, names, code | {"ingest/dev/redis.conf"})
        page = archive.read(f"{NAME}.dist-info/METADATA").decode()
    # Links into the repository lead nowhere on a package index.
    if links := re.findall(r"\]\((?!https?:)[^)]*\)", page.partition("\n\n")[2]):
        fail(f"the page on a package index has links to {', '.join(links)}: see pyproject.toml")


def compare(package: Path, names: Iterable[str], expected: set[str]) -> None:
    """Fail unless the package holds what it should."""
    present = set(names)
    if missing := expected - present:
        fail(f"{package.name} lacks {', '.join(sorted(missing))}")
    if surplus := present - expected:
        fail(f"{package.name} should not hold {', '.join(sorted(surplus))}")


def try_wheel(folder: Path) -> None:
    """Install the wheel where nothing else is, and run it from there."""
    environment = folder / "venv"
    wheel = DIST / f"{NAME}-py3-none-any.whl"
    call(UV, "venv", "--quiet", "--python", sys.executable, environment)
    call(UV, "pip", "install", "--quiet", "--python", environment, f"{wheel}[embedded,postgres,console]")
    ingest, port = str(environment / "bin" / "ingest"), free_port()
    # Neither the checkout nor anybody's settings: only what a new user's shell has.
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [ingest, *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=False
        )
        return done.stdout if done.returncode == 0 else ""

    log = folder / "dev.log"
    with log.open("wb") as output_file:
        dev = subprocess.Popen(
            [ingest, "dev", "--port", str(port)], cwd=folder, env=clean, stdout=output_file, stderr=output_file
        )
    try:
        wait(lambda: "Now type" in log.read_text(), "`ingest dev` did not start", log)
        wait(
            lambda: run("simulate", "--events", "1", "--url", f"http://127.0.0.1:{port}/copernica"), "no call", log
        )
        wait(
            lambda: json.loads(run("status", "--json") or "{}").get("stored") == 1, "the call was not stored", log
        )
        dev.send_signal(signal.SIGINT)
        if dev.wait(PATIENCE):
            fail(f"`ingest dev` ended with exit code {dev.returncode}:\n{log.read_text()}")
    finally:
        end(dev)


def end(dev: subprocess.Popen[bytes]) -> None:
    """Kindly if possible: killed, it would leave its Redis-compatible server running."""
    dev.terminate()
    try:
        dev.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        dev.kill()
        dev.wait()


def wait(condition: Callable[[], object], failure: str, log: Path) -> None:
    """Until the condition holds; fail with the sentence and the log when it does not in time."""
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            fail(f"{failure} within {PATIENCE:.0f} s:\n{log.read_text()}")
        time.sleep(0.2)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(*command: str | Path) -> None:
    """Run a command in the checkout; its output is shown."""
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        fail(f"this failed: {' '.join(map(str, command))}")


def output(*command: str) -> str:
    """What a command in the checkout prints."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def fail(why: str) -> NoReturn:
    """End with the reason."""
    sys.exit(f"release: {why}")


if __name__ == "__main__":
    main()
