"""`ingest dev`: everything on this machine in one command, and one Ctrl-C to end it all.

Starts all parts (`ingest.dev.parts`), with one worker and, if there are handlers, a worker for these, restarted
whenever their files change; makes a key for simulated calls; prints what runs where; restarts what dies.
"""

import json
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import IO

from rich.markup import escape

from ingest import __version__, shown
from ingest.cli.render.console import Console, printable
from ingest.cli.streams import reader_may_leave
from ingest.copernica.accounts import full_name
from ingest.dev import beside, console, parts
from ingest.endpoint import supervisor
from ingest.listening import url_from_here, url_of
from ingest.processes import Child, watch
from ingest.settings import KEYS_FILE, SIGNER_FILE, Settings
from ingest.simulation.signer import Signer
from ingest.stops import StopSignals

#: Seconds between two looks at the handlers' files.
RELOAD_EVERY = 0.5

#: In the data folder: one call, ready to be sent with `curl -K`.
CALL_FILE = "call.curl"

_COLOURS = {
    "redis": "red",
    "web": "cyan",
    "worker": "green",
    "handlers": "magenta",
    "console": "blue",
    "dev": "bold",
}
_WIDTH = max(map(len, _COLOURS))


def dev(settings: Settings) -> None:
    """Run everything until asked to stop.

    Raises:
        AddressInUse: the port or the data folder is in use.
        Unavailable: the data folder cannot be written, or Redis or the database cannot be used.
    """
    with StopSignals.caught() as signals, ExitStack() as stack:
        check = partial(supervisor.check, settings.model_copy(update={"accounts": _accounts(settings)}))
        server, tables = stack.enter_context(parts.prepared(settings, signals, _relay_quietly, check))
        environ = parts.environment(settings, server.url)
        environ["INGEST_ALLOW_ROOT"] = "1"  # whoever starts this as root wants to try it
        signer = _signer(settings, environ)
        stack.enter_context(beside.told(settings.data_dir, os.environ | environ))
        web, sockets = _endpoint(settings, environ, stack)
        workers = [parts.worker("worker", "events", environ, _relay)]
        if settings.has_handlers:
            workers.append(parts.worker("handlers", "handlers", environ, _relay))
            watched = threading.Thread(target=_reload, args=(settings.handlers, workers[1]), daemon=True)
            watched.start()
        shown_at = stack.enter_context(console.prepared(settings, environ, _relay))
        front = [*web, *shown_at.children]
        try:
            parts.start(web, [*server.children, *shown_at.children], workers, tables, signals, _say)
            if parts.wait_until_ready(settings, web, signals):
                _write_call(settings, signer)
                threading.Thread(target=_keep_call_fresh, args=(settings, signer), daemon=True).start()
                _banner(settings, server.what, shown_at.said, signer)
            watch([*server.children, *front, *workers], signals, _say)
        finally:
            _say("stopping" + ("" if signals.count > 1 else "; press Ctrl-C again to stop immediately"))
            for sock in sockets:
                sock.close()  # so that the endpoint is the last to have it
            parts.stop_in_order(front, workers, settings, signals)
    _say("stopped; the rest of the backlog is drained at the next start")


def _endpoint(
    settings: Settings, environ: dict[str, str], stack: ExitStack
) -> tuple[list[Child], list[socket.socket]]:
    """The endpoint and its sockets: its processes without their parent, whose part this process plays.

    Where metrics are shown, the parent is needed for that.
    """
    if settings.metrics_port is not None:
        return [parts.endpoint(environ, _relay)], []
    supervisor.prepare_redis(settings)
    sockets = stack.enter_context(supervisor.listening(settings.host, settings.port, settings.web_concurrency))
    processes = [
        supervisor.process_of(number, sock, environ=environ, output=_relay, own_session=True)
        for number, sock in enumerate(sockets, 1)
    ]
    return processes, sockets


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


def _accounts(settings: Settings) -> tuple[str, ...]:
    return tuple(settings.accounts) or (full_name("1"),)


def _signer(settings: Settings, environ: dict[str, str]) -> Signer | None:
    """The key pair of simulated calls, made at the first start; its public half is in a file for the endpoint."""
    if settings.verify == "off":
        return None
    path = settings.data_dir / SIGNER_FILE
    account = full_name(_accounts(settings)[0])
    before = Signer.load(path) if path.exists() else None
    signer = Signer.new(account) if before is None else before.for_account(account)
    if before is None or before.account != account:
        signer.save(path)
    keys = settings.data_dir / KEYS_FILE
    keys.write_text(json.dumps({signer.key_id: signer.dkim_record}, indent=1) + "\n")
    environ["INGEST_ACCOUNTS"] = ",".join(_accounts(settings))
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
    base, path = url_from_here(settings.host, settings.port), settings.path or "/"
    host = base.removeprefix("http://")
    body = f"id=5fd2c1aa90bb&type=open&recipient=jan%40example.nl&ip=192.0.2.7&time={int(time.time())}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if signer is not None:
        headers = signer.sign(path, host, headers["Content-Type"], body.encode())
    lines = [f'url = "{base}{path}"', f'data-raw = "{body}"', "include", "silent", "show-error"]
    lines += ['header = "{}: {}"'.format(name, value.replace('"', '\\"')) for name, value in headers.items()]
    fresh = settings.data_dir / f"{CALL_FILE}.new"
    fresh.write_text("\n".join(lines) + "\n")
    fresh.replace(settings.data_dir / CALL_FILE)


# --- what it prints ---

_console = Console(highlight=False, soft_wrap=True)
_print_lock = threading.Lock()


def _say(text: str, name: str = "dev") -> None:
    with _print_lock, reader_may_leave():
        _console.print(f"[{_COLOURS[name.partition('.')[0]]}]{name:<{_WIDTH}} |[/] {escape(printable(text))}")


def _relay(name: str, lines: IO[str]) -> None:
    for line in lines:
        _say(line.rstrip(), name)


def _relay_quietly(name: str, lines: IO[str]) -> None:
    for line in parts.warnings(lines):
        _say(line, name)


def _banner(settings: Settings, what_redis: str, console_at: str, signer: Signer | None) -> None:
    path = settings.path or "/"
    url = url_from_here(settings.host, settings.port) + path
    at = "" if url == "http://127.0.0.1:8000/copernica" else f" --url {shlex.quote(url)}"
    data = shlex.quote(str(settings.data_dir))
    call = shlex.quote(str(settings.data_dir / CALL_FILE))
    begin = escape(("" if data == "data" else f"INGEST_DATA_DIR={data} ") + command())
    if signer is None:
        trust = "[yellow]signatures are NOT verified: whoever can reach this endpoint can add events[/]"
    else:
        trust = f"signed by  {signer.account}, for which `ingest simulate` has a key in {escape(data)}/"
    with _print_lock, reader_may_leave():
        _console.print(
            f"""
  [bold]Copernica webhook ingester {__version__}[/]

  endpoint   {escape(url_of(settings.host, settings.port) + path)}
  console    {escape(console_at)}
  redis      {what_redis}
  worker     1, on the queue `events`
  handlers   {escape(_handlers(settings))}
  database   {escape(settings.shown_database)}
  {trust}

  Now type, in another terminal:

    [bold]curl -K {escape(call)}[/]
    [bold]{begin} simulate --events 10000{escape(at)}[/]

  and look with [bold]{begin} status[/] or [bold]{begin} events[/]. Ctrl-C stops everything.
"""
        )


def _handlers(settings: Settings) -> str:
    """The handlers and forward targets, as they may be shown: without passwords."""
    if not settings.has_handlers:
        return "none; name a module of yours in INGEST_HANDLERS"
    urls = filter(None, (*settings.forward_url, settings.clickhouse_url, settings.kafka_url))
    return ", ".join([*settings.handlers, *map(shown.url, urls)])


def command() -> str:
    """How this program is typed here."""
    typed = Path(sys.argv[0])
    if typed.name != "ingest":
        return "ingest"
    on_path = any((Path(folder) / "ingest").exists() for folder in os.get_exec_path())
    return "ingest" if on_path else shlex.quote(os.path.relpath(typed))
