"""How fast a function is called for each of many events or jobs: ours, and libraries of job queues."""

import json
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from tests.benchmarks import handlers, plan
from tests.benchmarks.cores import Cores, on
from tests.benchmarks.peers import installed
from tests.benchmarks.peers.endpoints import socket_of
from tests.benchmarks.servers import ROOT, redis_server, scratch
from tests.support.running import clean_environ

#: What each library needs; RQ is in our own environment.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "RQ": (),
    "Celery": ("celery[redis]==5.7.0",),
    "dramatiq": ("dramatiq[redis]==2.2.1",),
    "saq": ("saq[redis,hiredis]==0.26.4", "typing-extensions>=4"),
    "arq": ("arq==0.28.0",),
    "taskiq": ("taskiq==0.13.0", "taskiq-redis==1.2.4"),
    "huey": ("huey==3.5.4", "redis==8.1.0"),
}
#: Seconds that filling or working off may take.
PATIENCE = 300.0


class Called(NamedTuple):
    """Calls per second, and µs of the worker's processor time per call."""

    rate: float
    cpu: float


def ours(events: int, cores: Cores) -> Called:
    """A handler of ours, one event per call; Redis is hardly used."""
    with on(cores.server):
        return Called(*handlers.handled(plan.calls(), events, 0))


def theirs(library: str, jobs: int, cores: Cores) -> Called:
    """A job that does nothing, so many times.

    Raises:
        NotInstalled: the library cannot be installed.
    """
    packages = PACKAGES[library]
    interpreter = installed.python(library.lower(), *packages) if packages else installed.current()
    command = [str(interpreter), "-m", f"{__package__}.no_op"]
    with scratch() as folder:
        # The worker's core is not that of Redis: of two, Redis gets the one that the load has elsewhere.
        with on(cores.load if cores.redis == cores.server else cores.redis):
            server = redis_server(folder)
            store = server.__enter__()
        try:
            store.client.config_set("appendfsync", "everysec")  # in their favour: they write several times per job
            more = [library, socket_of(store), str(jobs)]
            with on(cores.server):
                _said([*command, "fill", *more])
                said = json.loads(_said([*command, "work", *more]))
        finally:
            server.__exit__(None, None, None)
    return Called(said["jobs"] / said["seconds"], said["cpu"] * 1e6 / said["jobs"])


def _said(command: list[str]) -> str:
    environ = {**clean_environ(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode:
        raise installed.NotInstalled(f"{command[-4:]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
