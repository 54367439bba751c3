"""The endpoints that ours is measured beside: what one would write or set up to keep calls in Redis.

Each answers 200 once Redis has confirmed the call, whatever settings Redis has; none checks who sent it, but ours
where it says so. Each runs as one process on one core, and in the way that is best for it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.benchmarks.peers import installed
from tests.benchmarks.plan import PATH
from tests.benchmarks.servers import BARE, OURS, VERIFIED, Store, python
from tests.support.running import ingest

SERVERS = Path(__file__).with_name("servers")
REDIS_PY = ("redis==8.1.0", "hiredis==3.5.0", "uvloop==0.23.0")
FASTIFY = "fastify@5.12.8"


@dataclass(frozen=True, slots=True)
class Command:
    """How an endpoint is started."""

    argv: list[str]
    environ: Mapping[str, str]


#: Makes the command from the port, the store and a folder of the endpoint's own; raises `NotInstalled`.
Starter = Callable[[int, Store, Path], Command]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of those that are measured."""

    name: str
    #: What it does with a call, for the table.
    keeps: str
    start: Starter
    method: str = "POST"
    path: str = PATH
    signed: bool = False


def socket_of(store: Store) -> str:
    """The path of Redis's socket."""
    return unquote(urlsplit(store.url).path)


def _ours(verify: str) -> Starter:
    def start(port: int, store: Store, folder: Path) -> Command:
        environ = {
            "REDIS_URL": store.url,
            "PORT": str(port),
            "INGEST_PATH": PATH,
            "INGEST_VERIFY": verify,
            "INGEST_ACCOUNTS": "account-1234",
            "INGEST_KEYS": str(folder / "keys.json") if verify == "on" else "dns",
            "INGEST_DATA_DIR": str(folder),
            "LOG_LEVEL": "warning",
        }
        return Command(ingest("serve"), environ)

    return start


def _bare(port: int, _store: Store, _folder: Path) -> Command:
    return Command(python("baselines", "bare", str(port)), {})


def _jobs(port: int, store: Store, _folder: Path) -> Command:
    return Command(python("baselines", "jobs", str(port), store.url), {})


def _fastify(how: str, *packages: str) -> Starter:
    def start(port: int, store: Store, _folder: Path) -> Command:
        folder = installed.node(f"fastify-{how}", FASTIFY, *packages)
        script = str(SERVERS / "fastify.js")
        return Command(["node", script, how, str(folder), str(port), socket_of(store)], {"NODE_ENV": "production"})

    return start


def _granian(application: str) -> Starter:
    def start(port: int, store: Store, _folder: Path) -> Command:
        return _granian_of(application, port, store)

    return start


def _granian_of(application: str, port: int, store: Store) -> Command:
    interpreter = installed.python("granian", "granian==2.8.7", *REDIS_PY)
    options = ["--interface", "asgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--no-ws"]
    quiet = ["--loop", "uvloop", "--log-level", "error", "--backlog", "4096", "--working-dir", str(SERVERS)]
    return Command(
        [str(interpreter), "-m", "granian", *options, *quiet, application], {"PEERS_REDIS": socket_of(store)}
    )


def _uvicorn(port: int, store: Store, _folder: Path) -> Command:
    interpreter = installed.python("uvicorn", "uvicorn==0.54.0", "httptools==0.9.0", *REDIS_PY)
    options = ["--host", "127.0.0.1", "--port", str(port), "--app-dir", str(SERVERS), "--backlog", "4096"]
    quiet = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"]
    return Command(
        [str(interpreter), "-m", "uvicorn", *options, *quiet, "--lifespan", "off", "asgi:app"],
        {"PEERS_REDIS": socket_of(store)},
    )


def _webdis(port: int, store: Store, folder: Path) -> Command:
    unpacked = installed.debian("webdis", "webdis")
    settings = {
        "redis_host": socket_of(store),
        "http_host": "127.0.0.1",
        "http_port": port,
        "threads": 1,
        "daemonize": False,
        "pidfile": str(folder / "webdis.pid"),
        "http_max_request_size": 16 * 1024 * 1024,
        "verbosity": 0,
        "logfile": str(folder / "webdis.log"),
    }
    (folder / "webdis.json").write_text(json.dumps(settings))
    program = installed.program(unpacked, "usr/bin/webdis")
    return Command([str(program), str(folder / "webdis.json")], installed.libraries(unpacked))


def _nginx(port: int, store: Store, folder: Path) -> Command:
    unpacked = installed.debian("nginx", "nginx", "libnginx-mod-http-lua", "lua-nginx-redis")
    text = (SERVERS / "nginx.conf").read_text()
    for name, value in {
        "FOLDER": folder,
        "MODULES": unpacked / "usr/lib/nginx/modules",
        "LUA": unpacked / "usr/share/lua/5.1",
        "PORT": port,
        "SOCKET": socket_of(store),
    }.items():
        text = text.replace(name, str(value))
    (folder / "nginx.conf").write_text(text)
    program = installed.program(unpacked, "usr/sbin/nginx")
    argv = [str(program), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    return Command([*argv, "-e", str(folder / "nginx-error.log")], installed.libraries(unpacked))


RAW = "raw RPUSH"
ENDPOINTS = (
    Endpoint(OURS, "batches", _ours("off")),
    Endpoint(VERIFIED, "batches, RSA-2048 checked", _ours("on"), signed=True),
    Endpoint(BARE, "nothing", _bare),
    Endpoint("webdis", "RPUSH", _webdis, "PUT", "/RPUSH/peers"),
    Endpoint("nginx + Lua", RAW, _nginx),
    Endpoint("granian", RAW, _granian("asgi:app")),
    Endpoint("bare granian", "nothing", _granian("asgi:bare")),
    Endpoint("uvicorn", RAW, _uvicorn),
    Endpoint("Fastify", RAW, _fastify("rpush", "ioredis@6.0.0")),
    Endpoint("bare Fastify", "nothing", _fastify("bare")),
    Endpoint("Fastify + BullMQ", "a BullMQ job", _fastify("bullmq", "bullmq@6.7.0", "ioredis@6.0.0")),
    Endpoint("aiohttp + RQ", "an RQ job", _jobs),
)
