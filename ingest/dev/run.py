"""`ingest dev`: everything on this machine in one command, and one Ctrl-C to end it all.

Starts a private Redis server (unless `REDIS_URL` names one), the endpoint, a worker and, if there are handlers, a
worker for these, restarted whenever their files change; prints what runs where; restarts what dies. Stops in the
order of the flow: endpoint, workers (which still drain what they can), Redis. What is not drained by then is
processed after the next start.
"""

import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, cast

import redis
from rich.markup import escape

from ingest import __version__, redis_client, shown
from ingest.cli.render.console import Console, printable
from ingest.cli.streams import reader_may_leave
from ingest.copernica.accounts import full_name
from ingest.dev import beside
from ingest.dev.embedded_redis import EmbeddedServer
from ingest.endpoint import supervisor
from ingest.errors import AddressInUse, Unavailable
from ingest.processes import Child, StopSignals, own_command, stop, watch
from ingest.settings import KEYS_FILE, SIGNER_FILE, Settings
from ingest.simulation.signer import Signer
from ingest.stream.consumer import Consumer

log = logging.getLogger(__name__)

#: Seconds for each step of stopping; with half a second more before each SIGKILL they add up to less than ten.
STOP_WEB = 2.5
DRAIN_REST = 1.5
STOP_WORKER = 2.0
STOP_REDIS = 1.5
#: Seconds between two looks at the handlers' files.
RELOAD_EVERY = 0.5
#: Seconds to wait for the endpoint to answer.
READY_TIMEOUT = 20.0

#: In the data folder: one call, ready to be sent with `curl -K`.
CALL_FILE = "call.curl"

_COLOURS = {"redis": "red", "web": "cyan", "worker": "green", "handlers": "magenta", "dev": "bold"}
_WIDTH = max(map(len, _COLOURS))


def dev(settings: Settings) -> None:
    """Run everything until asked to stop.

    Raises:
        AddressInUse: the port or the data folder is in use.
        Unavailable: the data folder cannot be written, or `REDIS_URL` does not answer.
    """
    with _data_folder(settings.data_dir), StopSignals.caught() as signals:
        _upgrade(settings)
        with supervisor.listening(settings.host, settings.port, 1):
            pass  # if the port is taken, fail here rather than start the endpoint again and again
        with _redis(settings, signals) as (url, what, redis_children), ExitStack() as stack:
            environ = _environ(settings, url)
            signer = _signer(settings, environ)
            stack.enter_context(beside.told(settings.data_dir, os.environ | environ))
            web = Child("web", own_command("serve"), environ, output=_relay, own_session=True)
            workers = [_worker("worker", "events", environ)]
            if settings.has_handlers:
                workers.append(_worker("handlers", "handlers", environ))
                watched = threading.Thread(target=_reload, args=(settings.handlers, workers[1]), daemon=True)
                watched.start()
            try:
                web.start()
                for worker in workers:
                    worker.start()
                if _wait_for_port(settings, web, signals):
                    _write_call(settings, signer)
                    threading.Thread(target=_keep_call_fresh, args=(settings, signer), daemon=True).start()
                    _banner(settings, what, signer)
                watch([*redis_children, web, *workers], signals, _say)
            finally:
                _say("stopping" + ("" if signals.count > 1 else "; press Ctrl-C again to stop immediately"))
                stop([web], STOP_WEB, signals)
                _drain_rest(url, signals)
                stop(workers, STOP_WORKER, signals)
    _say("stopped; the rest of the backlog is drained at the next start")


def _worker(name: str, queue: str, environ: dict[str, str]) -> Child:
    command = own_command("worker", "--queue", queue)
    return Child(name, command, environ, output=_relay, own_session=True)


def _reload(modules: Sequence[str], handlers: Child) -> None:
    """Restart the handlers' worker whenever a file of theirs changes."""
    before = _changed_at(modules)
    while True:
        time.sleep(RELOAD_EVERY)
        now = _changed_at(modules)
        if now != before:
            _say("the handlers changed")
            handlers.terminate()  # what watches over it starts it again
            handlers.restart_soon()
        before = now


def _changed_at(modules: Sequence[str]) -> dict[Path, int]:
    """When the files of these modules, and those beside and below them, were changed."""
    found = {}
    for module in modules:
        file = Path(*module.split("."))
        folder = file if file.is_dir() else file.parent
        paths = folder.rglob("*.py") if folder != Path() else [file.with_suffix(".py")]
        for path in paths:
            with suppress(OSError):  # an editor is just replacing it
                found[path] = path.stat().st_mtime_ns
    return found


def _upgrade(settings: Settings) -> None:
    """Create the tables, in a process of its own: this one need not load what the workers need."""
    done = subprocess.run(  # noqa: S603  # our own command
        own_command("db", "upgrade"),
        env={**os.environ, "DATABASE_URL": settings.database},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(done.stderr.strip().removeprefix("ingest: ") or "The tables could not be made.")


def _environ(settings: Settings, url: str) -> dict[str, str]:
    """What the parts' environment has on top of ours."""
    return {
        "REDIS_URL": url,
        "DATABASE_URL": settings.database,
        "HOST": settings.host,
        "PORT": str(settings.port),
        "INGEST_DATA_DIR": str(settings.data_dir),
        "INGEST_ALLOW_ROOT": "1",  # whoever starts this as root wants to try it
    }


def _signer(settings: Settings, environ: dict[str, str]) -> Signer | None:
    """The key pair of simulated calls, made at the first start; its public half is in a file for the endpoint."""
    if settings.verify == "off":
        return None
    path = settings.data_dir / SIGNER_FILE
    account = full_name(settings.accounts[0] if settings.accounts else "1")
    signer = Signer.load(path).for_account(account) if path.exists() else Signer.new(account)
    signer.save(path)
    keys = settings.data_dir / KEYS_FILE
    keys.write_text(json.dumps({signer.key_id: signer.dkim_record}, indent=1) + "\n")
    environ["INGEST_ACCOUNTS"] = ",".join(settings.accounts or [account])
    if "keys" not in settings.model_fields_set:
        environ["INGEST_KEYS"] = str(keys.absolute())
    return signer


def _keep_call_fresh(settings: Settings, signer: Signer | None) -> None:
    """Sign the call for curl again and again, before it is too old to be accepted."""
    while True:
        time.sleep(min(60.0, settings.max_age / 3))
        with suppress(OSError):  # the folder is gone: no one will look for it
            _write_call(settings, signer)


def _write_call(settings: Settings, signer: Signer | None) -> None:
    """Write a file with one call that is signed now, for `curl -K`."""
    host, path = f"{settings.host}:{settings.port}", settings.path or "/"
    body = f"id=5fd2c1aa90bb&type=open&recipient=jan%40example.nl&ip=192.0.2.7&time={int(time.time())}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if signer is not None:
        headers = signer.sign(path, host, headers["Content-Type"], body.encode())
    lines = [f'url = "http://{host}{path}"', f'data-raw = "{body}"', "include", "silent", "show-error"]
    lines += ['header = "{}: {}"'.format(name, value.replace('"', '\\"')) for name, value in headers.items()]
    fresh = settings.data_dir / f"{CALL_FILE}.new"
    fresh.write_text("\n".join(lines) + "\n")
    fresh.replace(settings.data_dir / CALL_FILE)


@contextmanager
def _data_folder(path: Path) -> Iterator[None]:
    """The data folder, for us alone.

    Raises:
        Unavailable: it cannot be written.
        AddressInUse: another `ingest dev` works in it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "dev.lock").open("a")
    except OSError as error:
        raise Unavailable(
            f"The data folder {path} cannot be used ({error.strerror}): choose another with --data-dir."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AddressInUse(
                f"Another `ingest dev` is running in {path}: stop it, or use another --data-dir."
            ) from None
        yield


@contextmanager
def _redis(settings: Settings, signals: StopSignals) -> Iterator[tuple[str, str, list[Child]]]:
    """A running Redis: its URL, what to call it, and the child that is it, if it is ours."""
    if settings.redis_url:
        with redis_client.connect(settings.redis_url) as client:
            redis_client.require(client, settings.redis_url)
        yield settings.redis_url, shown.url(settings.redis_url), []
        return
    embedded = EmbeddedServer(settings.data_dir)
    child = Child("redis", embedded.prepare(), output=_relay_quietly, own_session=True)
    child.start()
    try:
        with embedded.answering() as client:
            version = redis_version(client)
        yield embedded.url, f"{version}, private, every write on disk before it counts", [child]
    finally:
        stop([child], STOP_REDIS, signals)
        embedded.forget()


def redis_version(client: redis.Redis) -> str:
    """The server's own name and version, as in `Valkey 9.1.2`."""
    info = cast(dict[str, object], client.info("server"))
    name = str(info.get("server_name", "redis")).capitalize()
    return f"{name} {info.get('valkey_version') or info['redis_version']}"


def _wait_for_port(settings: Settings, web: Child, signals: StopSignals) -> bool:
    until = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < until and not signals.count:
        try:
            with socket.create_connection((settings.host, settings.port), 1.0) as connection:
                connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: dev\r\nConnection: close\r\n\r\n")
                if connection.recv(12).endswith(b"200"):
                    return True
        except OSError:
            web.check()
        time.sleep(0.05)
    return False


def _drain_rest(url: str, signals: StopSignals) -> None:
    """Give the worker a moment to empty the stream."""
    try:
        with redis_client.connect(url, DRAIN_REST) as client:
            backlog = Consumer(client)
            until = time.monotonic() + DRAIN_REST
            while backlog.batches() and time.monotonic() < until and signals.count < 2:
                time.sleep(0.05)
    except redis.RedisError as error:
        log.debug("Redis is gone already: %s", error)


# --- what it prints ---

_console = Console(highlight=False, soft_wrap=True)
_print_lock = threading.Lock()


def _say(text: str, name: str = "dev") -> None:
    with _print_lock, reader_may_leave():
        _console.print(f"[{_COLOURS[name]}]{name:<{_WIDTH}} |[/] {escape(printable(text))}")


def _relay(name: str, lines: IO[str]) -> None:
    for line in lines:
        _say(line.rstrip(), name)


def _relay_quietly(name: str, lines: IO[str]) -> None:
    """Relay only the server's warnings (`#`), without those that are about a production server."""
    for line in lines:
        if " # " in line and "oO0OoO0OoO0Oo" not in line and "overcommit" not in line:
            _say(line.rstrip(), name)


def _banner(settings: Settings, what_redis: str, signer: Signer | None) -> None:
    base = f"http://{settings.host}:{settings.port}"
    url = base + (settings.path or "/")
    ingest = command()
    at = "" if url == "http://127.0.0.1:8000/copernica" else f" --url {url}"
    folder = "" if settings.data_dir == Path("data") else f"INGEST_DATA_DIR={settings.data_dir} "
    if signer is None:
        trust = "[yellow]signatures are NOT verified: whoever can reach this endpoint can add events[/]"
    else:
        trust = f"signed by  {signer.account}, for which `ingest simulate` has a key in {settings.data_dir}/"
    with _print_lock, reader_may_leave():
        _console.print(
            f"""
  [bold]Copernica webhook ingester {__version__}[/]

  endpoint   {url}
  redis      {what_redis}
  worker     1, on the queue `events`
  handlers   {escape(_handlers(settings))}
  database   {escape(settings.shown_database)}
  {trust}

  Now type, in another terminal:

    [bold]curl -K {escape(str(settings.data_dir / CALL_FILE))}[/]
    [bold]{folder}{ingest} simulate --events 10000{at}[/]

  and look with [bold]{folder}{ingest} status[/] or [bold]{folder}{ingest} events[/]. Ctrl-C stops everything.
"""
        )


def _handlers(settings: Settings) -> str:
    """The handlers and forward targets, as they may be shown: without passwords."""
    if not settings.has_handlers:
        return "none; name a module of yours in INGEST_HANDLERS"
    return ", ".join([*settings.handlers, *map(shown.url, settings.forward_url)])


def command() -> str:
    """How this program is typed here."""
    typed = Path(sys.argv[0])
    if typed.name != "ingest":
        return "ingest"
    on_path = any((Path(folder) / "ingest").exists() for folder in os.get_exec_path())
    return "ingest" if on_path else os.path.relpath(typed)
