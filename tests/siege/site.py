"""What is besieged: a whole installation with a DNS server of its own, and what can be measured of it."""

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.redis_client import connect
from ingest.simulation.signer import Signer
from ingest.stream.keys import Keys
from tests.siege.attacks import ACCOUNT
from tests.support.dnsserver import Behaviour, DnsServer
from tests.support.running import Process, answers, descendants, exists, free_port, ingest, run, until
from tests.support.valkey import Valkey, valkey
from workers.store.schema import upgrade

#: Endpoint processes.
PROCESSES = 2
#: Files that an endpoint process may open: what most systems allow, and less than connections come.
FILES = 1024
#: Bytes that may be kept of calls that cannot be verified: little, so that the flood fills it.
UNVERIFIED_MAX = 16 * 1024 * 1024
#: Seconds in which DNS says that a name does not exist.
DNS_DELAY = 0.03


@dataclass
class Site:
    """The processes and where they keep things."""

    folder: Path
    port: int
    dns: DnsServer
    redis: Valkey
    environ: dict[str, str]
    endpoint: Process
    worker: Process

    def endpoint_processes(self) -> set[int]:
        """The processes that take calls."""
        return descendants(self.endpoint.pid)

    def peak_memory(self, pids: set[int]) -> int:
        """The most bytes that any of these processes has had in memory, ever."""
        peaks = [0]
        for pid in filter(exists, pids):
            status = Path(f"/proc/{pid}/status").read_text()
            peaks.append(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
        return max(peaks)

    def know(self, *signers: Signer) -> None:
        """Have DNS know the keys of these alone."""
        self.dns.otherwise = Behaviour.NXDOMAIN
        for signer in signers:
            self.dns.put(signer.key_id, signer.dkim_record)

    def lose_dns(self, *signers: Signer) -> None:
        """Have DNS answer nothing any more."""
        self.dns.otherwise = Behaviour.SERVFAIL
        for signer in signers:
            self.dns.let(signer.key_id, Behaviour.SERVFAIL)

    def drain(self) -> None:
        """Have all that was kept stored, and verified if DNS is there."""
        run("drain", environ=self.environ, seconds=120)

    def drained(self) -> bool:
        """Whether nothing is on its way to the store."""
        self.drain()
        with connect(self.redis.url) as client:
            waiting = client.xlen(Keys().stream)
        return not (waiting or self.unverified() or any((self.folder / "spool").glob("**/*.spool")))

    def kept_in_vain(self) -> int:
        """Bytes of calls that are kept and are no events: unverified, in quarantine, in the spool."""
        size = sum(path.stat().st_size for path in (self.folder / "spool").glob("**/*.spool"))
        for table in ("unverified", "quarantine"):
            for row in self.query(f"SELECT * FROM {table}"):
                size += sum(len(part) for part in row if isinstance(part, bytes | str))
        return size

    def unverified(self) -> int:
        """Calls that wait to be verified."""
        return int(self.query("SELECT count(*) FROM unverified")[0][0])

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database itself."""
        with closing(sqlite3.connect(self.folder / "events.db", timeout=30)) as connection:
            return connection.execute(query).fetchall()


def _few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Everything, running, for as long as the block runs."""
    port = free_port()
    with DnsServer() as dns, valkey() as redis:
        dns.delay = DNS_DELAY
        host, dns_port = dns.address
        environ = {
            "REDIS_URL": redis.url,
            "DATABASE_URL": f"sqlite:///{folder}/events.db",
            "PORT": str(port),
            "WEB_CONCURRENCY": str(PROCESSES),
            "INGEST_ACCOUNTS": ACCOUNT,
            "INGEST_DNS_SERVERS": f"{host}:{dns_port}",
            "INGEST_SPOOL_DIR": str(folder / "spool"),
            "INGEST_UNVERIFIED_MAX": str(UNVERIFIED_MAX),
            "INGEST_ALLOW_ROOT": "1",
        }
        upgrade(environ["DATABASE_URL"])
        endpoint = Process(ingest("serve"), environ, folder / "endpoint.log", preexec_fn=_few_files)
        worker = Process(ingest("worker"), environ, folder / "worker.log")
        try:
            until(lambda: endpoint.output.count("is ready") == PROCESSES and answers(port), "the endpoint")
            yield Site(folder, port, dns, redis, environ, endpoint, worker)
        finally:
            worker.stop()
            endpoint.stop()
