"""A network of a run's own: machines whose packets pass through here, where links are cut, slow or lossy.

Each machine is a network namespace with one interface, a TUN device, whose other end is a file here. A packet that
a machine sends is read, and written to the machine that it is for, unless the link between the two loses it; or
later, if the link takes its time. So the kernels of both ends do what they do on a real network: they repeat what
was lost, wait longer each time, and know nothing of a machine that is gone, which says no last word.

It needs Linux and root, and leaves nothing: a namespace is gone with the last process that holds it.
"""

import asyncio
import ctypes
import fcntl
import os
import random
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

#: Where Copernica is, and all that is not one of the machines: the namespace of the run itself.
OUTSIDE = "outside"
#: The network of the machines, of which the last number is a machine's own.
_NETWORK = "10.77.0"
#: Bytes of the largest packet: fewer of them, as each costs this process time.
_MTU = 9000
#: Packets taken from one machine before others have their turn.
_AT_ONCE = 32
#: Bytes that wait before a thin link at most; what comes then is lost, as in a router.
_WAITING_MAX = 256 * 1024
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_DEVICE = "chaos0"


@dataclass(frozen=True, slots=True)
class Weather:
    """How a link is, in one direction."""

    #: Share of packets that are lost.
    lost: float = 0.0
    #: Seconds that each takes, from and to: they overtake each other if these differ.
    takes: tuple[float, float] = (0.0, 0.0)
    #: Bytes per second; 0: as many as come.
    width: float = 0.0


CUT = Weather(lost=1.0)
#: How a link may be, by name. A slow one is far away and thin.
WEATHERS = {
    "cut": CUT,
    "slow": Weather(takes=(0.04, 0.05), width=256 * 1024),
    "lossy": Weather(lost=0.05),
    "very lossy": Weather(lost=0.3),
    "late": Weather(takes=(0.0, 0.3)),
}


class Network:
    """The machines and what is between them; open and change it in the event loop that passes packets on."""

    def __init__(self, machines: Sequence[str], chance: random.Random) -> None:
        self._chance = chance
        self._machines = {name: _Machine(name, number) for number, name in enumerate((OUTSIDE, *machines), 1)}
        self._by_address = {machine.packed: machine for machine in self._machines.values()}
        self._weather: dict[tuple[str, str], list[Weather]] = {}
        self._free_at: dict[tuple[str, str], float] = {}
        #: Packets that were passed on and lost.
        self.packets: Counter[str] = Counter()

    async def open(self) -> None:
        """Begin to pass packets on."""
        loop = asyncio.get_running_loop()
        for machine in self._machines.values():
            loop.add_reader(machine.device, self._read, machine)

    async def close(self) -> None:
        """End it, with all interfaces."""
        loop = asyncio.get_running_loop()
        for machine in self._machines.values():
            loop.remove_reader(machine.device)
            machine.close()
        self._machines.clear()

    def address(self, machine: str) -> str:
        """Where a machine is reached by the others."""
        return self._machines[machine].address

    def inside(self, machine: str, argv: Sequence[str], *options: str) -> list[str]:
        """A command line as it is run on a machine; with options of nsenter, if need be."""
        namespace = f"/proc/{os.getpid()}/fd/{self._machines[machine].namespace}"
        return ["nsenter", f"--net={namespace}", *options, *argv]

    async def turn(self, links: Sequence[tuple[str, str]], weather: Weather) -> None:
        """Have links, each from one machine to another, be so, besides what they are already."""
        for link in links:
            self._weather.setdefault(link, []).append(weather)

    async def turn_back(self, links: Sequence[tuple[str, str]], weather: Weather) -> None:
        """End that."""
        for link in links:
            self._weather[link].remove(weather)

    def _read(self, machine: "_Machine") -> None:
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(machine.device, 65_536)
            except (BlockingIOError, OSError):
                return
            to = self._by_address.get(packet[16:20])
            if to is not None and packet[0] >> 4 == 4:
                self._pass(packet, to, (machine.name, to.name))

    def _pass(self, packet: bytes, to: "_Machine", link: tuple[str, str]) -> None:
        weathers = self._weather.get(link)
        if not weathers:
            self._deliver(packet, to)
            return
        loop = asyncio.get_running_loop()
        arrives = now = loop.time()
        for weather in weathers:
            if self._chance.random() < weather.lost:
                self.packets["lost"] += 1
                return
            if weather.width:
                free_at = max(self._free_at.get(link, 0.0), now)
                if (free_at - now) * weather.width > _WAITING_MAX:
                    self.packets["lost"] += 1
                    return
                self._free_at[link] = free_at + len(packet) / weather.width
                arrives += self._free_at[link] - now
            arrives += self._chance.uniform(*weather.takes)
        loop.call_at(arrives, partial(self._deliver, packet, to))

    def _deliver(self, packet: bytes, to: "_Machine") -> None:
        # One that takes no more loses it, as does one that is being taken down.
        with suppress(OSError):
            os.write(to.device, packet)
            self.packets["passed on"] += 1


class _Machine:
    """A namespace and the other end of its only interface."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.address = f"{_NETWORK}.{number}"
        self.packed = bytes(int(part) for part in self.address.split("."))
        self.namespace = self.device = -1
        # In a thread of its own, which is in another namespace from then on and ends.
        failed: list[Exception] = []
        thread = threading.Thread(target=self._build, args=(name != OUTSIDE, failed))
        thread.start()
        thread.join()
        if failed:
            raise failed[0]

    def _build(self, own: bool, failed: list[Exception]) -> None:
        try:
            if own:
                new_namespace()
            self.namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            self.device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(self.device, _TUNSETIFF, struct.pack("16sH", _DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
            _ip("address", "add", f"{self.address}/24", "dev", _DEVICE)
            _ip("link", "set", _DEVICE, "mtu", str(_MTU), "up")
        except Exception as error:
            failed.append(error)

    def close(self) -> None:
        for file in (self.namespace, self.device):
            with suppress(OSError):
                os.close(file)


def new_namespace() -> None:
    """Be in a network namespace of one's own from now on, this thread and what it starts.

    Raises:
        OSError: one may not, or there are none.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    _ip("link", "set", "lo", "up")


def in_own_network(what: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run something in a network that is gone afterwards: in a thread, whose namespace goes with it."""
    failed: list[BaseException] = []

    def alone() -> None:
        try:
            new_namespace()
            asyncio.run(what())
        except BaseException as error:  # it is raised where it is waited for
            failed.append(error)

    thread = threading.Thread(target=alone)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def why_none() -> str:
    """Why there can be no network of a run's own here; nothing if there can."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "needs Linux and root"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    command = ["unshare", "--net", "ip", "tuntap", "add", "chaos1", "mode", "tun"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        return f"needs {error.filename}"
    return done.stderr.strip() if done.returncode else ""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def between(machines: Sequence[str], one: str) -> list[tuple[str, str]]:
    """The links of a machine to all others, both ways."""
    return [link for other in machines if other != one for link in ((one, other), (other, one))]
