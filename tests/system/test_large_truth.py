"""The fake API serves a mailing of a million messages from little memory, deep pages about as fast as others."""

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest

from tests.support.large_truth import MAILING, large_truth
from tests.support.running import ingest, running, until

MESSAGES, RESULTS = 1_000_000, 300_000
#: Megabytes that the process may need at most, and seconds of processor time for a page, on a slow machine.
MAX_MEMORY, MAX_PAGE = 300, 0.25


def memory(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def busy(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / 100


@pytest.mark.slow
def test_a_million_messages_are_served_from_little_memory(tmp_path: Path) -> None:
    large_truth(tmp_path / "truth", MESSAGES, RESULTS)
    log = tmp_path / "log"

    async def ask(url: str, token: str) -> list[int]:
        async with aiohttp.ClientSession() as session:
            async with session.post(url, data={"access_token": token}) as answer:
                headers = {"Authorization": f"Bearer {await answer.text()}"}
            counts = []
            for path in PAGES:
                async with session.get(f"{url}/v4{path}", headers=headers) as answer:
                    counts.append((await answer.json())["count"])
            return counts

    with running(ingest("fake-api", "--results", str(tmp_path / "truth"), "--port", "0"), {}, log) as process:
        until(lambda: "COPERNICA_TOKEN=" in process.output, "the fake")
        url, token = (re.findall(rf"{name}=(\S+)", process.output)[0] for name in ("AUTH_URL", "TOKEN"))
        before = busy(process.pid)
        assert asyncio.run(ask(url, token)) == [1000] * len(PAGES)
        assert (busy(process.pid) - before) / len(PAGES) < MAX_PAGE
        assert memory(process.pid) < MAX_MEMORY


PERIOD = "begintime=2026-11-20%2009:10:00&endtime=2026-11-20%2009:40:00"
PAGES = [
    *(f"/ms/impressions?{PERIOD}&limit=1000&total=false&start={start}" for start in range(0, 10_001, 1000)),
    *(f"/ms/destinations?from=2026-11-20&to=2026-11-21&limit=1000&start={n}" for n in range(0, 990_001, 90_000)),
    *(f"/ms/emailing/{MAILING}/clicks?limit=1000&start={start}" for start in range(0, 90_001, 10_000)),
]
