"""Every process stops within ten seconds of being asked, under load, whether Redis answers or not."""

import signal
import socket
import time
from contextlib import ExitStack
from threading import Thread

import pytest

from ingest.redis_client import connect
from ingest.stream.consumer import Consumer
from tests.support.builders import record
from tests.support.running import answers, ingest, running, until
from tests.support.site import Site
from tests.support.stream import keep

#: Seconds that a stop may take; hosts kill after 10 or more.
STOP = 10.0


@pytest.mark.parametrize("command", [("serve",), ("worker",), ("worker", "--queue", "handlers"), ("drain",)])
@pytest.mark.parametrize("redis", ["serves", "is silent"])
def test_every_process_stops_in_time_under_load(site: Site, command: tuple[str, ...], redis: str) -> None:
    with (
        connect(site.server.url) as client,
        running(ingest("serve"), site.environ, site.folder / "web.log") as web,
    ):
        keep(client, *([record(batch * 100 + n) for n in range(100)] for batch in range(600)))
        until(lambda: answers(site.port), "the endpoint")
        load = Thread(target=site.send_while_it_is_there, args=(4000, 1000))
        load.start()
        process = web if command == ("serve",) else site.start(*command)
        try:
            if command[0] == "worker":
                until(lambda: client.exists("rq:workers"), "the worker")
            elif command[0] == "drain":
                until(lambda: Consumer(client).pending(), "a claim")
            if redis == "is silent":
                site.server.send(signal.SIGSTOP)
                time.sleep(1)
            began = time.monotonic()
            process.send(signal.SIGTERM)
            code = process.wait(2 * STOP)
            assert time.monotonic() - began < STOP
            assert code == (1 if (command[0], redis) == ("drain", "is silent") else 0)
            assert "Traceback" not in process.output
        finally:
            site.server.send(signal.SIGCONT)
            process.stop()
            load.join()


@pytest.mark.parametrize("command", [("serve",), ("worker",), ("drain",)])
def test_a_second_signal_stops_at_once(site: Site, command: tuple[str, ...]) -> None:
    with connect(site.server.url) as client, ExitStack() as stack:
        keep(client, *([record(batch * 100 + n) for n in range(100)] for batch in range(1000)))
        process = site.start(*command)
        try:
            if command == ("serve",):
                until(lambda: answers(site.port), "the endpoint")
                held = stack.enter_context(socket.create_connection(("127.0.0.1", site.port)))
                held.sendall(b"POST /copernica HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nunfinished"[:-6])
                time.sleep(0.2)
            else:
                until(lambda: Consumer(client).pending(), "a claim")
            site.server.send(signal.SIGSTOP)
            process.send(signal.SIGTERM)
            time.sleep(1.2)  # sooner, and RQ takes it for the same signal, come by two ways
            began = time.monotonic()
            process.send(signal.SIGINT)
            process.wait(STOP)
            assert time.monotonic() - began < 3
        finally:
            site.server.send(signal.SIGCONT)
            process.stop()
