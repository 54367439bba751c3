"""One endpoint under each condition: as fast as it can, then at shares of our own greatest rate."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from ingest.simulation.signer import Signer
from ingest.stream.keys import Keys
from tests.benchmarks.cores import Cores, on
from tests.benchmarks.peers.endpoints import Endpoint
from tests.benchmarks.peers.installed import NotInstalled
from tests.benchmarks.peers.load import Ask, Sent, send
from tests.benchmarks.servers import ROOT, Store, answers, cpu_seconds, redis_server, scratch
from tests.support.running import Process, free_port, running, until

#: Shares of our own greatest rate at which others are asked how long a sender waits.
SHARES = (0.5, 0.9)
#: What signs calls for the endpoint that checks them: an account and a key of 2048 bits, as Copernica's.
ACCOUNT, KEY_BITS = "account-1234", 2048
SIGNER, KEYS_FILE = "signer.json", "keys.json"


@dataclass(frozen=True, slots=True)
class Condition:
    """How calls come in."""

    keep_alive: bool
    connections: int

    def __str__(self) -> str:
        kept = "kept alive" if self.keep_alive else "one for each call"
        return f"{self.connections:,} connections, {kept}"


@dataclass(frozen=True, slots=True)
class Size:
    """How long each sample takes, in seconds; and what Redis promises."""

    seconds: float
    warm_seconds: float
    appendfsync: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What one endpoint did under one condition in one round; processor time in µs per call."""

    fastest: Sent
    server_cpu: float
    redis_cpu: float
    #: By the share of our own greatest rate; None where it could not keep up at all.
    paced: Mapping[float, Sent] = field(default_factory=dict)


def sample(endpoint: Endpoint, condition: Condition, size: Size, cores: Cores, ours: float | None) -> Sample:
    """Measure; `ours` is our greatest rate, None for those whose own counts.

    Raises:
        NotInstalled: it cannot be installed, or does not start.
    """
    with _started(endpoint, size, cores) as (port, process, store, folder):
        signer = str(folder / SIGNER) if endpoint.signed else ""

        def ask(seconds: float, rate: float = 0.0) -> Sent:
            store.client.unlink("peers", Keys().stream)
            asked = (endpoint.method, endpoint.path, condition.keep_alive, condition.connections)
            return send(Ask(port, *asked, seconds, rate, signer), cores.load)

        ask(size.warm_seconds)
        server, behind = cpu_seconds(process.pid), cpu_seconds(store.pid)
        fastest = ask(size.seconds)
        server, behind = cpu_seconds(process.pid) - server, cpu_seconds(store.pid) - behind
        calls = max(fastest.answered, 1)
        full = ours or fastest.rate
        paced = {share: ask(size.seconds, full * share) for share in SHARES}
    return Sample(fastest, server * 1e6 / calls, behind * 1e6 / calls, paced)


@contextmanager
def _started(endpoint: Endpoint, size: Size, cores: Cores) -> Iterator[tuple[int, Process, Store, Path]]:
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        if endpoint.signed:
            _make_keys(folder)
        with on(cores.redis):
            store = stack.enter_context(redis_server(folder))
        store.client.config_set("appendfsync", size.appendfsync)
        port = free_port()
        command = endpoint.start(port, store, folder)
        with on(cores.server):
            process = stack.enter_context(running(command.argv, command.environ, folder / "endpoint.log", ROOT))
        until(lambda: answers(port) or not process.alive, f"an answer of {endpoint.name}")
        if not process.alive:
            raise NotInstalled(f"it did not start: {process.output.strip()[-300:]}")
        yield port, process, store, folder


def _make_keys(folder: Path) -> None:
    signer = Signer(generate_private_key(65537, KEY_BITS), ACCOUNT)
    signer.save(folder / SIGNER)
    (folder / KEYS_FILE).write_text(f'{{"{signer.key_id}": "{signer.dkim_record}"}}')
