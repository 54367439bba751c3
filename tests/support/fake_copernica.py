"""Copernica's REST API for tests: the fake, served on a real socket by a thread of its own."""

import asyncio
import csv
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from ingest.copernica.api.client import Copernica
from ingest.copernica.api.retry import RetryPolicy
from ingest.simulation.fake_api import FakeCopernica, serve
from tests.support.running import PATIENCE

TOKEN = "geheim-0123456789abcdef"
#: As little waiting as a test can do with.
HASTY = RetryPolicy(attempts=4, first_pause=0.001, max_retry_after=0.01, silence_timeout=0.4, answer_timeout=10.0)


@contextmanager
def serving(app: web.Application) -> Iterator[str]:
    """Serve an application while the block runs; gives its URL."""
    began = threading.Event()
    said: list[str] = []
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    def ready(url: str) -> None:
        said.append(url)
        began.set()

    async def run() -> None:
        task = asyncio.create_task(serve(app, "127.0.0.1", 0, ready))
        running.append((asyncio.get_running_loop(), task))
        await asyncio.gather(task, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert began.wait(PATIENCE), "the fake does not come up"
        yield said[0]
    finally:
        for loop, task in running:
            loop.call_soon_threadsafe(task.cancel)
        thread.join(PATIENCE)


@contextmanager
def fake_copernica(fake: FakeCopernica) -> Iterator[dict[str, str]]:
    """Serve a fake while the block runs; gives the settings with which it is found."""
    with serving(fake.app()) as url:
        yield {"COPERNICA_API_URL": f"{url}/v4", "COPERNICA_AUTH_URL": url, "COPERNICA_TOKEN": fake.token}


def client(environ: dict[str, str], policy: RetryPolicy = HASTY, concurrency: int = 4) -> Copernica:
    """A client of it."""
    return Copernica(
        environ["COPERNICA_TOKEN"],
        environ["COPERNICA_API_URL"],
        environ["COPERNICA_AUTH_URL"],
        concurrency,
        policy,
    )


def log_file(folder: Path, name: str, rows: int = 3) -> Path:
    """A log file as `ingest simulate --with-logfiles` writes them, with a field of several lines in each row."""
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "time", "header", "email", "tags"])
        for number in range(rows):
            header = 'Host: é\nReferer: "<&>\r\n'
            writer.writerow([f"m{number}", "2026-11-20 09:00:00", header, f"a{number}@example.nl", "a;b"])
    return path
