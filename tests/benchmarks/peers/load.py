"""The sender, over many connections: kept alive, or one for each call.

It is a process of its own on a core of its own, and talks to the sockets itself: a connection for each call costs
an event loop more than it costs most of those that are measured here. Requests are ready bytes before the clock
starts.
"""

import gc
import json
import re
import select
import socket
import subprocess
import sys
import time
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

from ingest.simulation.report import percentile
from ingest.simulation.signer import Signer
from ingest.simulation.target import Target
from tests.benchmarks import plan
from tests.benchmarks.cores import on
from tests.benchmarks.servers import ROOT

#: Seconds between two looks at the clock when sending at a rate; what is due is then sent at once.
TICK = 0.001
#: Seconds to wait for the last answers, and for the process besides.
PATIENCE = 5.0
#: Share of the calls that were due that has to be answered by the end: otherwise a latency says nothing.
KEPT_UP = 0.98
#: Share of its core from which on the sender itself may be the limit.
BUSY = 0.9

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ask:
    """What is to be sent. A `rate` of 0 means: as fast as is answered."""

    port: int
    method: str
    path: str
    keep_alive: bool
    connections: int
    seconds: float
    rate: float = 0.0
    #: The file of who signs; empty if nobody does.
    signer: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of it; latencies in ms, from the moment a call was due to its answer."""

    due: int
    answered: int
    #: Of these, before the time was over: what a connection that was refused at first gets later says nothing.
    in_time: int
    failed: int
    seconds: float
    p50: float
    p99: float
    p999: float
    #: The share of its core that the sender needed: near 1 it is the sender that was measured.
    sender_cpu: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.in_time / self.seconds

    @property
    def kept_up(self) -> bool:
        """Whether what was due was answered, so that the latencies are those of this rate."""
        return self.answered >= KEPT_UP * self.due and not self.failed


def send(ask: Ask, core: int) -> Sent:
    """Send from a process of its own."""
    command = [sys.executable, "-m", __name__, json.dumps(asdict(ask))]
    with on(core):
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=ask.seconds + 60 * PATIENCE
        )
    return Sent(**json.loads(done.stdout))


class Connection:
    """One connection with at most one call under way."""

    __slots__ = ("data", "due", "sock", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = b""
        self.due = 0.0
        self.unsent = b""


class Load:
    """One run."""

    def __init__(self, ask: Ask, requests: list[bytes]) -> None:
        self._ask = ask
        self._requests = cycle(requests)
        self._poll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._idle: deque[Connection] = deque()
        #: When the calls were due that found every connection busy.
        self._overdue: deque[float] = deque()
        self._latencies = array("d")
        self._due = self._failed = self._in_time = 0
        self._ends = 0.0

    def run(self) -> Sent:
        """Send until the time is over and what is under way is answered."""
        if self._ask.keep_alive:
            self._idle.extend(self._connected() for _ in range(self._ask.connections))
        began, cpu = time.perf_counter(), time.process_time()
        self._ends = began + self._ask.seconds
        for _ in self._ticks(began):
            for fd, _events in self._poll.poll(TICK, 1024):
                self._look_at(self._open[fd])
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        for connection in [*self._open.values()]:
            self._close(connection)
        self._poll.close()
        ordered = sorted(self._latencies) or [0.0]
        p50, p99, p999 = (percentile(ordered, share) * 1000 for share in (0.5, 0.99, 0.999))
        answered = len(self._latencies)
        due, seconds = max(self._due, answered), self._ask.seconds
        return Sent(due, answered, self._in_time, self._failed, seconds, p50, p99, p999, cpu / took)

    def _ticks(self, began: float) -> Iterator[None]:
        """Make due what is due, again and again, until the end."""
        ask = self._ask
        while (now := time.perf_counter()) < self._ends:
            if ask.rate:
                more = int((now - began) * ask.rate) - self._due
                self._due += more
                self._overdue.extend([now] * more)
                self._begin_overdue()
            else:
                for _ in range(ask.connections - self._under_way):
                    self._begin(now)
            yield
        self._overdue.clear()  # whoever is behind by now has not kept up
        while self._under_way and time.perf_counter() < self._ends + PATIENCE:
            yield
        self._failed += self._under_way

    @property
    def _under_way(self) -> int:
        return len(self._open) - len(self._idle)

    def _begin_overdue(self) -> None:
        for _ in range(min(len(self._overdue), self._ask.connections - self._under_way)):
            self._begin(self._overdue.popleft())

    def _begin(self, due: float) -> None:
        """Send a call on the connection that has been idle longest, or on one of its own."""
        connection = self._idle.popleft() if self._idle else self._connected()
        connection.due = due
        connection.unsent = next(self._requests)
        self._push(connection)

    def _connected(self) -> Connection:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", self._ask.port))
        connection = self._open[sock.fileno()] = Connection(sock)
        self._poll.register(sock.fileno(), select.EPOLLIN)
        return connection

    def _push(self, connection: Connection) -> None:
        fd = connection.sock.fileno()
        try:
            sent = connection.sock.send(connection.unsent)
        except BlockingIOError:  # not connected yet
            self._poll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
            return
        except OSError:
            self._lose(connection)
            return
        assert sent == len(connection.unsent), "a call did not fit into the socket"
        connection.unsent = b""

    def _look_at(self, connection: Connection) -> None:
        if connection.unsent:
            self._poll.modify(connection.sock.fileno(), select.EPOLLIN)
            self._push(connection)
            return
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(connection)
            return
        connection.data += data
        if is_whole(connection.data):
            self._answered(connection)

    def _answered(self, connection: Connection) -> None:
        now = time.perf_counter()
        if connection.data.startswith(b"HTTP/1.1 200"):
            self._latencies.append(now - connection.due)
            self._in_time += now <= self._ends
        else:
            self._failed += 1
        connection.data = b""
        if self._ask.keep_alive:
            self._idle.append(connection)
        else:
            self._close(connection)
        if now < self._ends:
            if self._ask.rate:
                self._begin_overdue()
            else:
                self._begin(now)

    def _lose(self, connection: Connection) -> None:
        """A connection was refused, reset or closed: a failure, unless nothing was under way on it."""
        if connection in self._idle:
            self._idle.remove(connection)
        else:
            self._failed += 1
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        del self._open[connection.sock.fileno()]
        connection.sock.close()


def is_whole(data: bytes) -> bool:
    """Whether this is all of an answer."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    length = _LENGTH.search(head)
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")


def _requests(ask: Ask) -> list[bytes]:
    signer = Signer.load(Path(ask.signer)) if ask.signer else None
    target = Target(f"http://127.0.0.1:{ask.port}{ask.path}", signer)
    calls = plan.calls()[: plan.DISTINCT_SIGNED if signer else None]
    requests = [target.request(call).data for call in calls]
    more = b"" if ask.keep_alive else b"\r\nConnection: close"
    return [
        ask.method.encode() + data.removeprefix(b"POST").replace(b"\r\n", more + b"\r\n", 1) for data in requests
    ]


if __name__ == "__main__":
    asked = Ask(**json.loads(sys.argv[1]))
    gc.disable()
    print(json.dumps(asdict(Load(asked, _requests(asked)).run())))
