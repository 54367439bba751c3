"""A whole installation as an operator would have it, with wires and disks between its parts that can fail.

load ──▶ endpoint ──wire──▶ valkey-server ◀──wire── workers ──wire──▶ PostgreSQL or MariaDB, or SQLite
                        (one or three)

With three machines each has an endpoint, a valkey-server and a worker, and there are links between the machines
instead of wires.
"""

import asyncio
import json
import os
import pwd
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import psycopg
import pymysql
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ingest.dev import embedded_redis
from ingest.simulation.signer import Signer
from ingest.stream.consumer import GROUP, RECLAIM_IDLE_MS, Consumer
from ingest.stream.keys import Keys
from tests.chaos.clocks import Clocks
from tests.chaos.network import Network, Weather
from tests.chaos.parts import Handles, Part, Supervisor, alive_below, named, steady_port
from tests.chaos.plan import BESIDE, MACHINES, WIRES, WIRES_BESIDE, Plan
from tests.chaos.proxy import Proxy
from tests.support import mariadb
from tests.support.disk import Disk
from tests.support.postgres import Server
from tests.support.running import answers, ingest, until
from workers.store.schema import upgrade

T = TypeVar("T")

ACCOUNT = "account-1234"
#: Seconds in which a part has to leave when it is asked to: ten are promised, a busy machine gets a little more.
STOP_SECONDS = 12.0
#: Which parts are on which machine, where there are several.
PLACES = {
    "one": ("redis", "endpoint", "worker-1"),
    "two": ("redis-2", "endpoint-2", "worker-2", "handlers"),
    "three": ("redis-3", "endpoint-3", "worker-3", "postgres", "mariadb"),
}
#: The second server, which follows the first.
REPLICA = "replica"
#: Parts that are not the program's own: they are needed for the verdict.
SERVERS = ("postgres", "mariadb", "redis", *BESIDE, REPLICA)
#: Seconds that anything may take to start: not that it ever should, but what is judged begins later, and a machine
#: that does much else must not end a run before.
STARTING = 600.0
#: Seconds that a fail-over may take.
FAIL_OVER_SECONDS = 20.0
#: What the handler notes of an event that did not come by a call.
RECOVERED = "recovered"
HANDLERS = '''
"""A handler that notes what it got."""

import os

from workers import on


@on(batch=100)
def noted(events):
    lines = "".join(event.payload.get("call", "recovered") + "\\n" for event in events)
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, lines.encode())
    os.close(file)
'''


class Site:
    """Everything that one run needs; `close` leaves nothing of it."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.signer = Signer.new(ACCOUNT) if plan.setup.signed else None
        self.port = steady_port()
        self.spool = folder / "spool"
        self._ports = {name: steady_port() for name in ("redis", *BESIDE, REPLICA, "postgres", "mariadb")}
        #: The stream servers, the first of which has the queues.
        self.streams = ("redis", *BESIDE)[: plan.setup.streams]
        self.supervisor = Supervisor()
        self.disks = {name: Disk(folder / name) for name in plan.small_disks}
        self.clocks = Clocks(folder)
        self.wires: dict[str, Proxy] = {}
        self.network: Network | None = None
        if plan.setup.machines > 1:
            self.network = Network(MACHINES, random.Random(plan.seed))
        self.postgres: Server | None = None
        self.mariadb: mariadb.Server | None = None
        #: The fail point at which the processes of a part break, while there is one.
        self.fail_at: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires and load", daemon=True)
        self._thread.start()

    # --- building it ---

    def open(self) -> None:
        """Start everything, and wait until it works."""
        if self.network is not None:
            self.on_loop(self.network.open())
        for name in (*self.streams, "database", "spool"):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "mine.py").write_text(HANDLERS)
        if self.signer is not None:
            keys = {self.signer.key_id: self.signer.dkim_record}
            (self.folder / "keys.json").write_text(json.dumps(keys))
        for name in self.streams:
            self._add(name, partial(self._redis_argv, name))
        if self.plan.setup.database == "postgresql":
            self._add_postgres()
        if self.plan.setup.database == "mysql":
            self._add_mariadb()
        self.supervisor.begin()
        until(self.redis_answers, "Redis", STARTING)
        if self.plan.has_replica:
            self._add_replica()
        if self.network is None:
            self._lay_wires()
        upgrade(self.database_itself)
        for number in range(1, 1 + self.plan.setup.machines):
            self._add("endpoint" if number == 1 else f"endpoint-{number}", lambda: ingest("serve"))
        for number in range(1, 1 + max(2, self.plan.setup.machines)):
            self._add(f"worker-{number}", lambda: ingest("worker"))
        if self.plan.setup.handlers:
            self._add("handlers", lambda: ingest("worker", "--queue", "handlers"))
        until(self._all_ready, "the endpoints", STARTING)
        until(self.endpoints_answer, "the endpoints' answers", STARTING)

    def _add(self, name: str, argv: Callable[[], list[str]]) -> None:
        part = Part(
            name, lambda: self._placed(name, argv()), lambda: self._environ(name), self.folder, self.folder
        )
        part.start()
        self.supervisor.parts.append(part)

    def _placed(self, name: str, argv: list[str], *options: str) -> list[str]:
        """The command line of a part, as it is run on the machine where that is."""
        return argv if self.network is None else self.network.inside(self._machine(name), argv, *options)

    def _machine(self, name: str) -> str:
        return next(machine for machine, parts in PLACES.items() if name in parts)

    def _all_ready(self) -> bool:
        each = self._processes
        return all(part.log.read_text().count("is ready") >= each for part in self.endpoints())

    @property
    def _processes(self) -> int:
        """How many each endpoint has."""
        return 2 if self.network is None else 1

    def _redis_argv(self, name: str) -> list[str]:
        return [
            str(embedded_redis.binary()),
            str(embedded_redis.configuration()),
            "--port",
            str(self._ports[name]),
            *(() if self.network is None else ("--bind", "*", "--protected-mode", "no")),
            "--unixsocket",
            self._socket(name),
            "--dir",
            str(self.folder / name),
            "--loglevel",
            "notice",
        ]

    def _socket(self, name: str = "redis") -> str:
        return str(self.folder / f"{name}.sock")

    def _add_replica(self) -> None:
        (self.folder / REPLICA).mkdir()
        of_first = ["--replicaof", "127.0.0.1", str(self._ports["redis"])]
        self._add(REPLICA, lambda: [*self._redis_argv(REPLICA), *of_first])
        until(lambda: self._is_replica(REPLICA), "the replica", STARTING)

    def _is_replica(self, name: str) -> bool:
        """Whether a server follows the other one, and has all that it has."""
        with self.redis(name) as client, suppress(redis.RedisError):
            said = cast(Any, client.info("replication"))
            return bool(said["role"] == "slave" and said["master_link_status"] == "up")
        return False

    def fail_over(self, to_replica: bool) -> None:
        """Let the servers change places without losing anything; new connections then go to the new primary.

        Raises:
            redis.RedisError, AssertionError: they do not.
        """
        old, new = ("redis", REPLICA) if to_replica else (REPLICA, "redis")
        until(lambda: self._is_replica(new), "a replica that is up to date", FAIL_OVER_SECONDS)
        with self.redis(old) as client:
            client.execute_command("FAILOVER", "TO", "127.0.0.1", self._ports[new], "TIMEOUT", 5000)
        until(lambda: self._is_replica(old), "the fail-over", FAIL_OVER_SECONDS)
        for name, wire in self.wires.items():
            if name.endswith("redis"):
                wire.upstream = self._socket(new)

    def _add_postgres(self) -> None:
        folder = self.folder / "pg"
        folder.mkdir()
        self.postgres = Server(folder, {} if self.network is None else {"listen_addresses": "*"})
        if self.network is not None:
            with (folder / "data" / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all trust\n")
        self._add_database("postgres", folder, self.postgres.argv, self.postgres.popen)
        until(self._postgres_answers, "PostgreSQL", STARTING)
        self.postgres.new_database("events")

    def _add_mariadb(self) -> None:
        folder = self.folder / "my"
        folder.mkdir()
        reached = {} if self.network is None else {"skip-networking": "0"}
        self.mariadb = mariadb.Server(folder, {"max_allowed_packet": "64M", **reached})
        self._add_database("mariadb", folder, self.mariadb.argv, self.mariadb.popen)
        until(self._mariadb_answers, "MariaDB", STARTING)
        with closing(self.mariadb.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE DATABASE events CHARACTER SET utf8mb4")
            if self.network is not None:
                cursor.execute(f"CREATE USER {mariadb.USER}@'%'")
                cursor.execute(f"GRANT ALL ON *.* TO {mariadb.USER}@'%'")

    def _add_database(self, name: str, folder: Path, argv: Callable[[], list[str]], whose: dict[str, Any]) -> None:
        """A server that is run by another user, and that becomes so on its machine."""
        if self.network is not None:
            user = pwd.getpwnam(whose["user"])
            itself, whose = argv, {}
            options = f"--setuid={user.pw_uid}", f"--setgid={user.pw_gid}"

            def argv() -> list[str]:
                return self._placed(name, itself(), *options)

        part = Part(name, argv, dict, self.folder, folder, **whose)
        part.start()
        self.supervisor.parts.append(part)

    def _mariadb_answers(self) -> bool:
        assert self.mariadb is not None
        if not self.mariadb.socket.exists():
            return False
        try:
            self.mariadb.connect().close()
        except pymysql.Error:
            return False
        return True

    def _postgres_answers(self) -> bool:
        assert self.postgres is not None
        try:
            psycopg.connect(self.postgres.dsn("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def end_hanging_postgres(self) -> None:
        """Asked to end while it recovers from a crash, it may do neither: then whoever runs it kills it."""
        if self.postgres is None:
            return
        try:
            until(self._postgres_answers, "PostgreSQL")
        except AssertionError:
            self.parts["postgres"].send(signal.SIGQUIT)
            until(self._postgres_answers, "PostgreSQL", STARTING)

    def _lay_wires(self) -> None:
        chance = random.Random(self.plan.seed)
        for name in (*WIRES, *WIRES_BESIDE):
            server = name.partition("-")[2]
            if server in BESIDE and server not in self.streams:
                continue
            upstream = self._socket(server)
            if server == "mariadb":
                if self.mariadb is None:
                    continue
                upstream = str(self.mariadb.socket)
            if server == "postgres":
                if self.postgres is None:
                    continue
                upstream = str(self.postgres.folder / ".s.PGSQL.5432")
            self.wires[name] = Proxy(upstream, random.Random(chance.random()), steady_port())
            self.on_loop(self.wires[name].open())

    def _environ(self, name: str) -> dict[str, str]:
        kind = name.partition("-")[0] if name.startswith(("redis", "endpoint")) else "worker"
        environ = self.clocks.environ(kind) if kind in self.plan.shifted_clocks else {}
        if name in ("redis", *BESIDE, REPLICA):
            return environ if name == "redis" else {}
        setup = self.plan.setup
        environ |= {
            "REDIS_URL": f"redis://{self._way(kind, 'redis')}",
            "INGEST_STREAM_URLS": self._stream_urls(lambda server: f"redis://{self._way(kind, server)}"),
            "DATABASE_URL": self.database,
            "HOST": "127.0.0.1" if self.network is None else "0.0.0.0",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": str(self._processes),
            "INGEST_VERIFY": "on" if setup.signed else "off",
            "INGEST_ACCOUNTS": ACCOUNT if setup.signed else "",
            "INGEST_KEYS": str(self.folder / "keys.json"),
            "INGEST_SPOOL_DIR": str(self._spool(name)) if setup.spool else "",
            "INGEST_HANDLERS": "mine" if setup.handlers else "",
            "NOTES": str(self.folder / "noted"),
            "PYTHONPATH": str(self.folder),
            "INGEST_FAIL_AT": self.fail_at.get(kind, ""),
        }
        limits = {"INGEST_BUFFER_MAX": setup.buffer_max, "INGEST_SPOOL_MAX": setup.spool_max}
        return environ | {limit: str(value) for limit, value in limits.items() if value}

    def _way(self, kind: str, server: str, port: int = 0) -> str:
        """Host and port by which a kind of part reaches a server; which `port` it has on its own machine."""
        if self.network is None:
            return f"127.0.0.1:{self.wires[f'{kind}-{server}'].port}"
        return f"{self.network.address(self._machine(server))}:{port or self._ports[server]}"

    def _spool(self, name: str) -> Path:
        """The folder of an endpoint's spool."""
        return self.folder / f"spool{name.removeprefix('endpoint')}" if name.startswith("endpoint") else self.spool

    def environ_without_wires(self) -> dict[str, str]:
        """For a command that has nothing to fear."""
        environ = self._environ("command")
        return environ | {
            "REDIS_URL": f"unix://{self._socket()}",
            "INGEST_STREAM_URLS": self._stream_urls(lambda server: f"unix://{self._socket(server)}"),
            "DATABASE_URL": self.database_itself,
        }

    def _stream_urls(self, reach: Callable[[str], str]) -> str:
        """The setting: nothing where there is one server."""
        return ",".join(map(reach, self.streams)) if len(self.streams) > 1 else ""

    # --- using it ---

    @property
    def database(self) -> str:
        """Its URL, as the workers reach it."""
        if self.mariadb is not None:
            return f"mysql://{mariadb.USER}@{self._way('worker', 'mariadb', 3306)}/events"
        if self.postgres is None:
            return f"sqlite:///{self.folder}/database/events.db"
        return f"postgresql://ingest@{self._way('worker', 'postgres', 5432)}/events"

    @property
    def database_itself(self) -> str:
        """The same without any wire."""
        if self.mariadb is not None:
            return self.mariadb.url("events")
        return self.postgres.dsn("events") if self.postgres is not None else self.database

    @property
    def parts(self) -> dict[str, Part]:
        """By name."""
        return {part.name: part for part in self.supervisor.parts}

    def on_loop(self, work: Coroutine[Any, Any, T], seconds: float | None = 30.0) -> T:
        """Have it done where wires and load live."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def begin_on_loop(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """The same without waiting for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def redis(self, name: str = "redis") -> redis.Redis:
        """A client that goes past the wires."""
        return redis.Redis(
            unix_socket_path=self._socket(name),
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 0),
        )

    def redis_answers(self) -> bool:
        """Whether all stream servers are up and have read their files."""
        for name in self.streams:
            with self.redis(name) as client:
                try:
                    client.ping()
                except redis.RedisError:
                    return False
        return True

    def backlog(self) -> int:
        """Batches in the streams; -1 when nobody knows."""
        batches = 0
        for name in self.streams:
            with self.redis(name) as client:
                try:
                    batches += Consumer(client).batches()
                except redis.RedisError:
                    return -1
        return batches

    def let_claims_grow_old(self) -> None:
        """As if nobody had given a sign of life for so long that another drain may take what is claimed."""
        stream = Keys().stream
        for name in self.streams:
            with self.redis(name) as client, suppress(redis.ResponseError):
                for held in cast(Any, client.xpending_range(stream, GROUP, "-", "+", 100_000)):
                    ids = [held["message_id"]]
                    client.xclaim(stream, GROUP, held["consumer"], 0, ids, idle=2 * RECLAIM_IDLE_MS, justid=True)

    def holders(self, kind: str) -> list[Part]:
        """The parts that write to a kind of disk."""
        names = {"redis": ("redis",), "spool": ("endpoint",), "database": ("worker-1", "worker-2")}[kind]
        return [self.parts[name] for name in names]

    def endpoints(self) -> list[Part]:
        """One on each machine."""
        return [part for part in self.supervisor.parts if part.name.startswith("endpoint")]

    def places(self) -> list[tuple[str, int]]:
        """Where they listen."""
        if self.network is None:
            return [("127.0.0.1", self.port)]
        return [(self.network.address(self._machine(part.name)), self.port) for part in self.endpoints()]

    def endpoints_answer(self) -> bool:
        """Whether all of them are ready."""
        return all(answers(port, host) for host, port in self.places())

    def on_machine(self, machine: str) -> list[Part]:
        """All that runs there."""
        return [part for part in self.supervisor.parts if part.name in PLACES[machine]]

    @contextmanager
    def weather(self, links: Sequence[tuple[str, str]], weather: Weather) -> Iterator[None]:
        """Links between machines that are so."""
        assert self.network is not None
        self.on_loop(self.network.turn(links, weather))
        try:
            yield
        finally:
            self.on_loop(self.network.turn_back(links, weather))

    def workers(self) -> list[Part]:
        """Every kind of worker."""
        return [part for part in self.supervisor.parts if part.name.startswith(("worker", "handlers"))]

    # --- ending it ---

    def stop(self, names: list[str]) -> dict[str, float]:
        """Ask parts to leave, all at once; returns how long each of them took, and kills those that did not."""
        parts = [part for part in self.supervisor.parts if part.name in names]
        began = time.monotonic()
        for part in parts:
            part.over = True
            part.send(signal.SIGINT if part.name == "postgres" else signal.SIGTERM)
        took = {}
        for part in parts:
            assert part.process is not None
            with suppress(subprocess.TimeoutExpired):
                part.process.wait(max(0.1, STOP_SECONDS - (time.monotonic() - began)))
            took[part.name] = round(time.monotonic() - began, 1)
            if part.process.alive:
                self.supervisor.trouble.append(f"{part.name} did not stop within {STOP_SECONDS:.0f} s")
        return took

    def tracebacks(self) -> dict[str, int]:
        """What the program has left in its logs, by their last lines; those that were asked for do not count."""
        logs = [part.log for part in self.supervisor.parts if part.name not in SERVERS]
        text = "".join(log.read_text(errors="replace") for log in logs)
        found = re.findall(r"^Traceback \(most recent call last\):\n(?:[ \n].*\n|\n)*(\S.*)$", text, re.MULTILINE)
        return dict(Counter(line[:200] for line in found if "Injected" not in line))

    def left_over(self) -> list[str]:
        """Processes that should have left by now, as the system names them."""
        return [named(pid) for pid in alive_below(os.getpid())]

    def close(self, keep: bool) -> None:
        """End what is still there by force; with `keep`, what lay on small disks is kept."""
        for part in self.supervisor.parts:
            part.over = True
        self.supervisor.close()
        rest = Handles(alive_below(os.getpid()), os.getpid())
        for number in (signal.SIGKILL, signal.SIGCONT):
            rest.send(number)
        rest.close()
        for wire in self.wires.values():
            self.on_loop(wire.close())
        if self.network is not None:
            self.on_loop(self.network.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for name, disk in self.disks.items():
            kept = self.folder / f"{name}.kept" if keep else None
            disk.unmount(kept)
