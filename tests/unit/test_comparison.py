"""The parts of `make bench-peers` that would spoil its figures, or end it, without anybody noticing."""

from pathlib import Path

import pytest

from tests.benchmarks.cores import Cores
from tests.benchmarks.peers import installed
from tests.benchmarks.peers.load import Sent, is_whole
from tests.benchmarks.peers.measure import SHARES, Condition, Sample
from tests.benchmarks.peers.report import Report
from tests.benchmarks.servers import OURS


@pytest.mark.parametrize(
    ("available", "cores", "apart"),
    [
        ({3}, Cores(3, 3, 3), False),
        ({0, 1}, Cores(0, 0, 1), True),
        ({1, 5, 7}, Cores(1, 5, 7), True),
        ({0, 1, 2, 3}, Cores(0, 1, 3), True),
    ],
)
def test_the_load_has_a_core_of_its_own_where_there_is_one(available: set[int], cores: Cores, apart: bool) -> None:
    assert Cores.among(available) == cores
    assert cores.are_apart == apart


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ],
)
def test_an_answer_is_whole_at_its_last_byte_and_not_before(answer: bytes) -> None:
    assert [end for end in range(len(answer) + 1) if is_whole(answer[:end])] == [len(answer)]


def test_who_cannot_be_installed_says_why_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", "")
    for install in (installed.node, installed.debian):
        with pytest.raises(installed.NotInstalled, match="there is no"):
            install("some", "thing")


def test_a_latency_is_shown_only_of_who_kept_up() -> None:
    kept, late = (Sent(100, answered, answered, 0, 1.0, 1.0, 2.0, 3.0, 0.5) for answered in (99, 90))
    report = Report({}, {}, {"redis": "shares the server's core"}, skipped={"webdis": "there is no apt-get"})
    for name, paced in ((OURS, kept), ("granian", late)):
        sample = Sample(kept, 10.0, 2.0, dict.fromkeys(SHARES, paced))
        report.samples.setdefault(Condition(keep_alive=True, connections=64), {})[name] = [sample]
    page = report.page()
    assert "- **webdis**: there is no apt-get" in page
    assert "| ours | batches | 99 | 1.00 | 10 | 2 | 1 / 2 / 3 | 1 / 2 / 3 |" in page
    assert "| granian | raw RPUSH | 99 | 1.00 | 10 | 2 | - | - |" in page
