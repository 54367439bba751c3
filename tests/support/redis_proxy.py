"""A Redis that can be moved, and that answers what a test wants: between its clients and one or more real servers.

Connections stay with the server that they were made to, as after a fail-over; new ones go to `upstream`.
"""

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import hiredis

#: What answers a command instead of the server: bytes as they go over the wire, or None to ask the server.
Mood = Callable[[bytes], bytes | None]
#: Bytes read at a time.
CHUNK = 64 * 1024


def _agreeable(_command: bytes) -> None:
    return None


class RedisProxy:
    """Listens on the loopback address; `url` leads there. `upstream` is a port, or the path of a Unix socket."""

    def __init__(self, upstream: int | str) -> None:
        self.upstream = upstream
        self.mood: Mood = _agreeable
        self._fail_overs = 0
        self._old_primary = b""
        #: How often each command was answered by the mood.
        self.refused: Counter[bytes] = Counter()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it with all connections."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def fail_over(self, answer: bytes) -> None:
        """From now on the connections that stand lead to a server that answers so, new ones to the real one."""
        self._old_primary = answer
        self._fail_overs += 1

    def cut(self) -> None:
        """End all connections."""
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        family = socket.AF_UNIX if isinstance(self.upstream, str) else socket.AF_INET
        address = self.upstream if isinstance(self.upstream, str) else ("127.0.0.1", self.upstream)
        made_at = self._fail_overs
        with client, socket.socket(family) as server, suppress(OSError):
            self._open |= {client, server}
            try:
                server.connect(address)
                self._converse(client, server, made_at)
            finally:
                self._open -= {client, server}

    def _converse(self, client: socket.socket, server: socket.socket, made_at: int) -> None:
        """One command after the other; once somebody subscribes, everything goes through as it is."""
        commands, answers = hiredis.Reader(notEnoughData=Ellipsis), hiredis.Reader(notEnoughData=Ellipsis)
        while data := client.recv(CHUNK):
            commands.feed(data)
            while (command := commands.gets()) is not Ellipsis:
                name = command[0].upper()
                answer = self.mood(name) if made_at == self._fail_overs else self._old_primary
                if answer is not None:
                    self.refused[name] += 1
                    client.sendall(answer)
                    continue
                server.sendall(_packed(command))
                if name.endswith(b"SUBSCRIBE"):
                    self._pass_through(client, server)
                    return
                while answers.gets() is Ellipsis:
                    data = server.recv(CHUNK)
                    if not data:
                        return
                    answers.feed(data)
                    client.sendall(data)

    def _pass_through(self, client: socket.socket, server: socket.socket) -> None:
        def pump(one: socket.socket, other: socket.socket) -> None:
            with suppress(OSError):
                while data := one.recv(CHUNK):
                    other.sendall(data)
            for sock in (one, other):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

        back = threading.Thread(target=pump, args=(server, client), daemon=True)
        back.start()
        pump(client, server)
        back.join()


def _packed(command: list[bytes]) -> bytes:
    parts = [b"*%d\r\n" % len(command)]
    parts += [b"$%d\r\n%b\r\n" % (len(part), part) for part in command]
    return b"".join(parts)


@contextmanager
def redis_proxy(upstream: int | str) -> Iterator[RedisProxy]:
    """One for as long as the block runs."""
    proxy = RedisProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
