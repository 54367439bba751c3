"""A few threads that ask what may take long; no process stays for their sake, one that stops leaves them."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """So many threads, which are started when there is something to do."""

    def __init__(self, number: int, name: str) -> None:
        self._number, self._name = number, name
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def run(self, ask: Callable[[], T]) -> "asyncio.Future[T]":
        """What a function returns, called in a thread; it is not if nobody waits for it any more."""
        answer: Future[T] = Future()
        self._waiting.put((answer, ask))
        if len(self._threads) < self._number:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return asyncio.wrap_future(answer)

    def close(self) -> None:
        """Call nothing any more; what is under way is not waited for."""
        while not self._waiting.empty():
            if (one := self._waiting.get()) is not None:
                one[0].cancel()
        for _ in self._threads:
            self._waiting.put(None)

    def _work(self) -> None:
        while (one := self._waiting.get()) is not None:
            answer, ask = one
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(ask())
            except BaseException as error:  # whatever it is, the caller gets it
                answer.set_exception(error)
            del one, answer, ask  # hold nothing while there is nothing to do
