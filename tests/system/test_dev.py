"""`ingest dev`, as a newcomer runs it."""

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.benchmarks.footprint import woken
from tests.support.cli import found, typed
from tests.support.postgres import Server
from tests.support.running import (
    Process,
    answers,
    descendants,
    exchange,
    exists,
    free_port,
    ingest,
    run,
    running,
    until,
)


def started(process: Process, port: int) -> None:
    until(lambda: "Now type" in process.output, "the banner")
    until(lambda: answers(port), "the endpoint")


def post_as_curl_does(command: list[str]) -> bytes:
    """The answer to a printed curl; where there is no curl, what it reads from its file is sent by hand."""
    if shutil.which(command[0]):
        return subprocess.run(command, capture_output=True, timeout=10, check=True).stdout
    said = re.findall(r'^(\S+) = "(.*)"$', Path(command[2]).read_text(), re.MULTILINE)
    lines = [value.replace('\\"', '"') for name, value in said if name == "header"]
    body = next(value for name, value in said if name == "data-raw")
    url = urlsplit(next(value for name, value in said if name == "url"))
    head = "\r\n".join([f"POST {url.path} HTTP/1.1", *lines, "", ""])
    return exchange(url.port or 80, (head + body).encode())


def figures(folder: Path) -> dict[str, int]:
    """What `ingest status` says; nothing while a part of it is on its way up."""
    shown = typed("status", "--json", environ={"INGEST_DATA_DIR": str(folder)})
    seen = dict(json.loads(shown.stdout or "{}"))
    return {} if None in (seen.get("backlog"), seen.get("stored")) else seen


def test_everything_runs_stops_and_goes_on(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "my [data]"
    command = ingest("dev", "--port", str(port), "--data-dir", str(folder))

    os.umask(0o022)  # as usual, whatever it is where the tests run
    with running(command, {}, tmp_path / "first.log") as dev:
        started(dev, port)
        parts = descendants(dev.pid)
        assert len(parts) >= 3  # redis, web, worker

        curl = re.search(r"curl .*", dev.output)
        assert curl, "the printed curl"
        assert post_as_curl_does(shlex.split(curl[0])).startswith(b"HTTP/1.1 200")

        simulate = re.search(r"ingest (simulate .*)", dev.output)
        assert simulate, "the printed simulate"
        sent = run(*shlex.split(simulate[1]), environ={"INGEST_DATA_DIR": str(folder)})
        assert sent.returncode == 0, sent.stderr
        until(lambda: figures(folder).get("stored") == 10_001, "10,001 events")
        assert figures(folder)["backlog"] == 0
        beside = found({"INGEST_DATA_DIR": str(folder)})  # which says nothing of accounts and keys
        assert [text for level, text in beside.values() if level == "wrong"] == []
        assert [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077] == []

        began = time.monotonic()
        dev.send(signal.SIGINT)
        assert dev.wait() == 0
        assert time.monotonic() - began < 10
        until(lambda: not any(exists(pid) for pid in parts), "the end of all parts", 1)
        assert "Traceback" not in dev.output

    with running(command, {}, tmp_path / "second.log") as dev:
        started(dev, port)
        assert figures(folder).get("stored") == 10_001
        dev.send(signal.SIGTERM)
        assert dev.wait() == 0


def test_signals_that_come_all_at_once_stop_it_all_the_same(tmp_path: Path) -> None:
    port = free_port()
    with running(
        ingest("dev", "--port", str(port), "--data-dir", str(tmp_path / "d")), {}, tmp_path / "log"
    ) as dev:
        started(dev, port)
        parts = descendants(dev.pid)
        ends = time.monotonic() + 0.3
        while time.monotonic() < ends and dev.alive:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                dev.send(number)
        assert dev.wait() == 0
        assert "did not stop in time" not in dev.output
        until(lambda: not any(exists(pid) for pid in parts), "the end of all parts")


def command_line(pid: int) -> bytes:
    with suppress(OSError):  # it ended meanwhile
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def said(dev: Process, text: str) -> bool:
    return text in dev.output


def test_parts_that_die_are_restarted_and_it_is_reported(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "d"
    url = f"http://127.0.0.1:{port}/copernica"
    with running(ingest("dev", "--port", str(port), "--data-dir", str(folder)), {}, tmp_path / "log") as dev:
        started(dev, port)
        data = {"INGEST_DATA_DIR": str(folder)}
        assert run("simulate", "--events", "100", "--url", url, environ=data).returncode == 0
        for part, argument in (("worker", b"worker"), ("redis", b"valkey"), ("web.1", b"\0serve\0")):
            parts = descendants(dev.pid)
            os.kill(min(pid for pid in parts if argument in command_line(pid)), signal.SIGKILL)
            until(partial(said, dev, f"{part} was killed by SIGKILL; starting it again"), "the word")
            until(lambda: answers(port), "the endpoint")
        until(lambda: dev.output.count("web.1 is ready") == 2, "the new endpoint")
        assert run("simulate", "--events", "100", "--url", url, environ=data).returncode == 0
        until(lambda: figures(folder).get("stored") == 200, "200 events")


def test_what_a_killed_dev_left_behind_does_no_harm(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "d"
    command = ingest("dev", "--port", str(port), "--data-dir", str(folder))
    with running(command, {}, tmp_path / "killed.log") as dev:
        started(dev, port)
        url = f"http://127.0.0.1:{port}/copernica"
        sent = run("simulate", "--events", "100", "--url", url, environ={"INGEST_DATA_DIR": str(folder)})
        assert sent.returncode == 0
        parts = descendants(dev.pid)
        dev.send(signal.SIGKILL)
        dev.wait()
    with running(command, {}, tmp_path / "next.log") as dev:
        started(dev, port)
        until(lambda: figures(folder).get("stored") == 100, "what was there")
        assert not any(exists(pid) for pid in parts)


def test_with_urls_those_servers_are_used(redis_url: str, postgres_server: Server, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "d"
    database = postgres_server.new_database("dev").replace("ingest@", "ingest:geheim@")
    environ = {"REDIS_URL": redis_url, "DATABASE_URL": database, "INGEST_DATA_DIR": str(folder)}
    with running(ingest("dev", "--port", str(port)), environ, tmp_path / "log") as dev:
        started(dev, port)
        url = f"http://127.0.0.1:{port}/copernica"
        assert run("simulate", "--events", "100", "--url", url, environ=environ).returncode == 0
        until(lambda: json.loads(typed("status", "--json", environ=environ).stdout)["stored"] == 100, "100 events")
        assert not (folder / "redis").exists()
        assert not (folder / "ingest.db").exists()
    assert "/dev" in dev.output
    assert "geheim" not in dev.output


@pytest.mark.parametrize(
    ("environ", "arguments", "code", "said"),
    [
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, [], 1, "does not answer"),
        ({"REDIS_URL": "nonsense"}, [], 2, "REDIS_URL"),
        ({}, ["--data-dir", "/proc/nowhere"], 1, "/proc/nowhere"),
        ({"INGEST_VERIFY": "maybe"}, [], 2, "INGEST_VERIFY"),
        ({"INGEST_KEYS": "/nowhere.json"}, [], 2, "/nowhere.json"),
        ({"INGEST_ACCOUNTS": "jan"}, [], 2, "INGEST_ACCOUNTS"),
        ({"PORT": "eighty"}, [], 2, "PORT"),
        ({"DATABASE_URL": "mysql://x"}, [], 2, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:geheim@127.0.0.1:1/d"}, [], 1, "127.0.0.1:1/d cannot be used"),
    ],
)
def test_a_mistake_gives_one_sentence_and_an_exit_code(
    environ: dict[str, str], arguments: list[str], code: int, said: str, tmp_path: Path
) -> None:
    done = run("dev", "--port", str(free_port()), *arguments, environ=environ, cwd=tmp_path)
    assert done.returncode == code
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "geheim" not in done.stdout + done.stderr


def test_a_port_in_use_gives_one_sentence(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("dev", "--port", str(port), environ={}, cwd=tmp_path)
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_console_that_cannot_be_shown_keeps_nothing_else_from_running(tmp_path: Path) -> None:
    import socket

    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = str(taken.getsockname()[1])
        command = ingest("dev", "--port", str(port), "--data-dir", str(tmp_path / "d"))
        with running(command, {"INGEST_CONSOLE_PORT": wanted}, tmp_path / "log") as dev:
            started(dev, port)
            assert f"none: Cannot show the console at 127.0.0.1 port {wanted}" in dev.output
            assert not any(b"\0console\0" in command_line(pid) for pid in descendants(dev.pid))


def test_a_console_that_its_settings_forbid_is_not_there_and_it_is_said_why(tmp_path: Path) -> None:
    port = free_port()
    # Beyond this machine, and without a password.
    environ = {"INGEST_CONSOLE_HOST": "0.0.0.0", "INGEST_CONSOLE_PORT": str(free_port())}
    command = ingest("dev", "--port", str(port), "--data-dir", str(tmp_path / "d"))
    with running(command, environ, tmp_path / "log") as dev:
        started(dev, port)
        assert "none: The console would be open to everybody" in dev.output


def test_calls_are_taken_and_parts_watched_over_while_an_upgrade_takes_long(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "d"
    folder.mkdir()
    command = ingest("dev", "--port", str(port), "--data-dir", str(folder))
    with closing(sqlite3.connect(folder / "ingest.db")) as database:
        database.execute("BEGIN EXCLUSIVE")
        with running(command, {}, tmp_path / "log") as dev:
            until(lambda: answers(port), "the endpoint")
            server = next(pid for pid in descendants(dev.pid) if b"valkey" in command_line(pid))
            os.kill(server, signal.SIGKILL)
            until(partial(said, dev, "redis was killed by SIGKILL; starting it again"), "the word")
            assert "Now type" not in dev.output
            database.rollback()
            until(partial(said, dev, "Now type"), "the banner")


@pytest.mark.skipif(not Path("/proc").exists(), reason="read from /proc")
def test_what_has_nothing_to_do_sleeps(tmp_path: Path) -> None:
    port = free_port()
    command = ingest("dev", "--port", str(port), "--data-dir", str(tmp_path / "d"))
    with running(command, {"INGEST_CONSOLE_PORT": "off"}, tmp_path / "log") as dev:
        started(dev, port)
        until(partial(said, dev, "working on the queue"), "the worker")
        time.sleep(5)  # for what a start leaves to do
        pids = {dev.pid, *descendants(dev.pid)}
        before, began = woken(pids), time.monotonic()
        time.sleep(10)
        # All of them together: about 30, of which Redis' own clock is 10. There were 120, and nobody noticed.
        assert (woken(pids) - before) / (time.monotonic() - began) < 60


def test_the_console_starts_when_it_is_opened(tmp_path: Path) -> None:
    port, at = free_port(), free_port()
    command = ingest("dev", "--port", str(port), "--data-dir", str(tmp_path / "d"))
    with running(command, {"INGEST_CONSOLE_PORT": str(at)}, tmp_path / "log") as dev:
        started(dev, port)
        assert not any(b"\0console\0" in command_line(pid) for pid in descendants(dev.pid))
        assert b"200 OK" in exchange(at, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{at}\r\n\r\n".encode())
        os.kill(next(pid for pid in descendants(dev.pid) if b"\0console\0" in command_line(pid)), signal.SIGKILL)
        until(partial(said, dev, "console was killed by SIGKILL; starting it again"), "the word")
        until(lambda: dev.output.count("the console is at") == 2, "the new console")


def test_one_folder_is_for_one_dev(tmp_path: Path) -> None:
    folder = str(tmp_path / "d")
    port = free_port()
    with running(ingest("dev", "--port", str(port), "--data-dir", folder), {}, tmp_path / "log") as dev:
        started(dev, port)
        done = run("dev", "--port", str(free_port()), "--data-dir", folder, environ={})
        assert done.returncode == 1
        assert "Another" in done.stderr
