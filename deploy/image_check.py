"""Build the image without a registry, look into it, and run it: `make image-check`. For Linux, as root.

1. debootstrap makes a base that has what the one in deploy/Dockerfile has: Debian 13, Python, pip, certificates.
2. buildah builds deploy/Dockerfile on it, with its chroot isolation, which needs neither a daemon nor namespaces.
3. The image is looked at: its user, labels, health check, stop signal, what lies in it, and how large that is.
4. It is run as a container would run it: by its own user, in a chroot whose root file system is read-only, as
   process 1 of a namespace. The tables are made, a call is taken and stored, the health check passes, and SIGTERM
   ends the endpoint gracefully while a call is just arriving; then the same with `ingest all` and its own Redis.

What this does not show: that the registry's image has the digest in the Dockerfile; that its Python (3.14, where
Debian 13 has 3.13) does the same; how large that image is; what a container runtime adds (cgroups, seccomp,
networks).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NoReturn

from ingest import __version__
from ingest.dev import embedded_redis

ROOT = Path(__file__).parents[1]
#: Everything that is made; `make clean` removes it. The base is kept for the next time.
WORK = ROOT / "build" / "image"
BASE = "localhost/base"
IMAGE = "localhost/copernica-ingest"
SUITE = "trixie"
#: What the official Python image has beyond a minimal Debian, as far as we use it.
PACKAGES = "ca-certificates,netbase,tzdata,python3,python3-venv,python3-pip"
TOOLS = {"buildah": "buildah", "debootstrap": "debootstrap", "unshare": "util-linux", "nsenter": "util-linux"}
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
USER = 10001
#: Seconds in which a part must be up, and in which it must have stopped.
PATIENCE = 90.0
STOP_TIME = 10.0
#: Bytes that the image may have, compressed as a registry keeps it.
MAX_SIZE = 150 * 10**6

#: Makes the file system that the container sees, in a mount namespace of its own, and becomes its process 1.
#: $1: the image's root, $2: the data folder, $3: user and group; then the command.
CONTAINER = """
set -eu
root=$1 data=$2 user=$3; shift 3
mount --bind "$root" "$root"
mount --bind "$data" "$root/data"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
cd "$root"
exec setpriv --no-new-privs --inh-caps=-all -- \\
    chroot --userspec="$user" "$root" /bin/sh -c 'cd /app && exec "$@"' sh "$@"
"""


def main() -> None:
    """All steps; the first that fails ends it with a sentence."""
    if os.geteuid():
        fail("run this as root: debootstrap and chroot need it")
    for tool, package in TOOLS.items():
        if not shutil.which(tool):
            fail(f"there is no {tool} here: apt-get install {package}")
    WORK.mkdir(parents=True, exist_ok=True)
    make_base()
    build = ["--isolation", "chroot", "--format", "docker", "--file", "deploy/Dockerfile", "--tag", IMAGE]
    build += ["--build-arg", f"BASE={BASE}", "--build-arg", f"VERSION={__version__}"]
    buildah("bud", *build, ".")
    look_at_configuration(json.loads(ask_buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"])
    root = unpacked()
    look_at_files(root)
    run_it(root)
    print("The image was built, looked at and run. Nothing was published.")


def make_base() -> None:
    """Debian with its Python under the names of the official image, as an image of its own."""
    root = WORK / "base"
    if not (root / "usr/local/bin/python").is_symlink():
        shutil.rmtree(root, ignore_errors=True)
        call("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, root)
        for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()  # the official image has a Python of its own, which pip may change
        for rest in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(root / rest, ignore_errors=True)
        for name in ("python", "python3"):
            (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3")
    # What this machine trusts, for where a proxy has a certificate of its own.
    shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    container = ask_buildah("from", "scratch")
    buildah("add", "--quiet", container, str(root), "/")
    trusted = ["--env", f"PIP_CERT={CERTIFICATES}", "--env", f"SSL_CERT_FILE={CERTIFICATES}"]
    buildah("config", "--cmd", "python3", *trusted, container)
    buildah("commit", "--quiet", "--rm", container, BASE)


def look_at_configuration(configuration: dict[str, Any]) -> None:
    """What a host reads from the image."""
    print(json.dumps(configuration, indent=1))
    assert configuration["User"] == f"{USER}:{USER}", "it runs as somebody else"
    assert configuration["Cmd"] == ["ingest", "serve"]
    assert not configuration.get("Entrypoint")
    assert configuration["StopSignal"] == "SIGTERM"
    assert "/data" in configuration["Volumes"]
    assert configuration["Healthcheck"]["Test"][0] == "CMD", "the health check would need a shell"
    assert configuration["Labels"]["org.opencontainers.image.version"] == __version__


def unpacked() -> Path:
    """The image's files in a folder."""
    container = ask_buildah("from", IMAGE)
    mounted, root = Path(ask_buildah("mount", container)), WORK / "root"
    shutil.rmtree(root, ignore_errors=True)
    call("cp", "--archive", mounted, root)
    buildah("rm", container)
    return root


def look_at_files(root: Path) -> None:
    """Say what lies in the image; nothing in it is anybody's to change, and nothing of the build is left."""
    ours = root / "opt"
    packages = sorted(path.name for path in ours.glob("ingest/lib/python3*/site-packages/*.dist-info"))
    components = json.loads((ours / "ingest/sbom.cdx.json").read_text())["components"]
    print(f"{len(packages)} packages: {' '.join(name.removesuffix('.dist-info') for name in packages)}")
    print(f"{len(components)} components in sbom.cdx.json")
    print(f"on disk: base {size(WORK / 'base'):,} bytes, all {size(root):,}, of these /opt {size(ours):,}")
    whole, alone = length(f"tar -C {root} -c . | gzip -6"), length(f"tar -C {root} -c opt | gzip -6")
    print(f"compressed, as a registry keeps it: {whole:,} bytes, of these /opt {alone:,}")
    assert whole < MAX_SIZE, "the image is too large"
    found = [path for path in ours.rglob("*") if not path.is_symlink()]
    foreign = [str(path) for path in found if path.stat().st_mode & 0o022 or path.stat().st_uid]
    assert foreign == [], "files in the image that not only root can change"
    assert not (ours / "build").exists()
    assert not (root / "src").exists()
    assert (root / "data").stat().st_uid == USER


def run_it(root: Path) -> None:
    """Take a call, store it, stop."""
    data = WORK / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    os.chown(data, USER, USER)
    port = free_port()
    with redis_server() as url:
        settings = {"REDIS_URL": url, "PORT": str(port), "INGEST_VERIFY": "off", "HOST": "127.0.0.1"}

        def start(*command: str) -> "subprocess.Popen[str]":
            return inside(root, data, settings, *command)

        print(ended(start("ingest", "--version")))
        print(ended(start("ingest", "db", "upgrade")))
        endpoint = start("ingest", "serve")
        try:
            until(lambda: answer(port, "GET", "/readyz") == 200, "the endpoint")
            assert answer(port, "POST", "/copernica", b"type=open&id=1") == 200
            assert health(endpoint, port) == 0
            print("the endpoint takes calls, and the health check passes")
            took = stop_while_a_call_arrives(endpoint, port)
            print(f"SIGTERM while a call was arriving: it got its 200, and the exit code was 0 after {took:.1f} s")
        finally:
            end(endpoint)
        print(ended(start("ingest", "worker", "--queue", "events", "--burst")))
        assert ended(start("ingest", "events", "--format", "jsonl")).count("\n") == 1, "not two events"
        print("2 calls taken, 2 events stored")
    run_all(root, data, {name: value for name, value in settings.items() if name != "REDIS_URL"})


def run_all(root: Path, data: Path, settings: dict[str, str]) -> None:
    """Everything in one container, with the Redis that the image brings."""
    whole, port = inside(root, data, settings, "ingest", "all"), int(settings["PORT"])
    try:
        until(lambda: answer(port, "GET", "/readyz") == 200, "all parts")
        assert answer(port, "POST", "/copernica", b"type=open&id=3") == 200
        began = time.monotonic()
        os.kill(first_process(whole), signal.SIGTERM)
        assert whole.wait(STOP_TIME) == 0
        print(
            f"`ingest all` took a call, and ended with exit code 0 {time.monotonic() - began:.1f} s after SIGTERM"
        )
    finally:
        end(whole)


def stop_while_a_call_arrives(endpoint: "subprocess.Popen[str]", port: int) -> float:
    """Seconds from SIGTERM to the end, with half of a request sent before it and half after it."""
    body = b"type=open&id=2"
    head = f"POST /copernica HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(head + body[:5])
        time.sleep(0.2)
        began = time.monotonic()
        os.kill(first_process(endpoint), signal.SIGTERM)
        time.sleep(0.2)
        connection.sendall(body[5:])
        assert b" 200 " in connection.recv(4096), "the call that was arriving got no 200"
    assert endpoint.wait(STOP_TIME) == 0
    return time.monotonic() - began


def health(endpoint: "subprocess.Popen[str]", port: int) -> int:
    """The exit code of the health check, run as a container runtime does: in the namespaces of the container."""
    enter = ["nsenter", "--target", str(first_process(endpoint)), "--mount", "--pid", "--root", "--wd"]
    enter += ["--setuid", str(USER), "--setgid", str(USER), "env", f"PORT={port}"]
    check = ["/opt/ingest/bin/python", "-I", "-S", "/opt/ingest/healthcheck.py"]
    return subprocess.run([*enter, *check], check=False).returncode


def first_process(container: "subprocess.Popen[str]") -> int:
    """The process that is number 1 in the namespace."""
    return int(Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()[0])


def inside(root: Path, data: Path, settings: dict[str, str], *command: str) -> "subprocess.Popen[str]":
    """Start a command in the image, as process 1 of a namespace."""
    environ = {
        "PATH": "/opt/ingest/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "INGEST_DATA_DIR": "/data",
        **settings,
    }
    namespaces = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
    container = ["sh", "-c", CONTAINER, "sh", str(root), str(data), f"{USER}:{USER}"]
    arguments = [*namespaces, *container, *command]
    return subprocess.Popen(arguments, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def ended(process: "subprocess.Popen[str]") -> str:
    """What a command printed; it must succeed."""
    printed, _ = process.communicate(timeout=PATIENCE)
    if process.returncode:
        fail(f"exit code {process.returncode}: {printed}")
    return printed.strip()


@contextmanager
def redis_server() -> Iterator[str]:
    """A server with our configuration, on this machine."""
    port, folder = free_port(), WORK / "redis"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = [str(embedded_redis.binary()), str(embedded_redis.configuration())]
    command += ["--port", str(port), "--bind", "127.0.0.1"]
    server = subprocess.Popen([*command, "--dir", str(folder), "--loglevel", "warning"])
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        end(server)


def answer(port: int, method: str, path: str, body: bytes | None = None) -> int:
    """The status of an answer; 0 without one."""
    connection = HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request(method, path, body)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for it."""
    ends = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > ends:
            fail(f"waited {PATIENCE:.0f} s in vain for {what}")
        time.sleep(0.1)


def end(process: "subprocess.Popen[Any]") -> None:
    """However it went, leave nothing running."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def size(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def length(pipeline: str) -> int:
    """Bytes that a pipeline writes."""
    counting = f"{pipeline} | wc -c"
    return int(subprocess.run(counting, shell=True, stdout=subprocess.PIPE, text=True, check=True).stdout)


def buildah(*arguments: str) -> None:
    """Run buildah with a store of our own; its output is shown."""
    call("buildah", *_store(), *arguments)


def ask_buildah(*arguments: str) -> str:
    """What buildah prints."""
    command = ["buildah", *_store(), *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def _store() -> list[str]:
    return ["--root", str(WORK / "storage"), "--runroot", str(WORK / "run"), "--storage-driver", "vfs"]


def call(*command: str | Path) -> None:
    """Run a command; its output is shown."""
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        fail(f"this failed: {' '.join(map(str, command))}")


def fail(why: str) -> NoReturn:
    """End with the reason."""
    sys.exit(f"image-check: {why}")


if __name__ == "__main__":
    main()
