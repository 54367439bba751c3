"""What the machine, or the container, allows: its files as Linux, Docker and systemd write them."""

from pathlib import Path

import pytest

from ingest import container
from ingest.endpoint.limits import MAX_HELD
from ingest.endpoint.memory import CALL_COST, Memory, most_held

MIB = 1024 * 1024
#: Of a container that is the root of what it sees, and of a unit of systemd beside others.
V2, UNIT, V1 = "0::/\n", "0::/system.slice/web.service\n", "7:memory:/docker/0a\n5:cpu,cpuacct:/docker/0a\n0::/\n"


def groups(folder: Path, own: str, files: dict[str, str]) -> dict[str, Path]:
    """Files as the system would show them."""
    for name, content in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    (folder / "own").write_text(own)
    return {"groups": folder / "groups", "own": folder / "own"}


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        (V2, {"memory.max": str(256 * MIB)}, 256),
        (V2, {"memory.max": "max", "memory.high": str(200 * MIB)}, 200),
        (UNIT, {"system.slice/memory.max": str(300 * MIB), "system.slice/web.service/memory.max": "max"}, 300),
        (UNIT, {"system.slice/web.service/memory.max": str(100 * MIB)}, 100),
        (UNIT, {"memory.max": str(64 * MIB)}, 64),
        (V1, {"memory/memory.limit_in_bytes": str(512 * MIB)}, 512),
        (V1, {"memory/docker/0a/memory.limit_in_bytes": str(80 * MIB)}, 80),
    ],
)
def test_memory_is_the_smallest_of_all_limits(tmp_path: Path, own: str, files: dict[str, str], limit: int) -> None:
    assert container.memory(**groups(tmp_path, own, files)) == limit * MIB


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (V2, {}),
        ("", {"memory.max": "1"}),
        (V2, {"memory.max": "max", "cpu.max": "max 100000"}),
        (V1, {"memory/memory.limit_in_bytes": str(2**63 - 4096), "cpu,cpuacct/cpu.cfs_quota_us": "-1"}),
        (V2, {"memory.max": "", "cpu.max": "0"}),
    ],
)
def test_without_a_limit_it_is_the_machines(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    nothing = {"groups": tmp_path / "none", "own": tmp_path / "none"}
    shown = groups(tmp_path, own, files)
    assert container.memory(**shown) == container.memory(**nothing)
    assert container.processors(**shown) == container.processors(**nothing) >= 1


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (V2, {"cpu.max": "50000 100000"}),
        (UNIT, {"system.slice/web.service/cpu.max": "25000 50000", "system.slice/cpu.max": "max 100000"}),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}),
    ],
)
def test_processors_are_no_more_than_a_container_may_use(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    assert container.processors(**groups(tmp_path, own, files)) == 0.5


@pytest.mark.parametrize(
    ("processes", "max_body", "memory", "held"),
    [
        (1, 10, None, MAX_HELD // MIB),
        (1, 10, 64 * 1024, MAX_HELD // MIB),
        (2, 10, 512, 64),
        (1, 10, 512, 128),
    ],
)
def test_an_endpoint_holds_what_there_is_memory_for(
    processes: int, max_body: int, memory: int | None, held: int
) -> None:
    assert most_held(processes, max_body * MIB, memory and memory * MIB) == held * MIB


@pytest.mark.parametrize(("processes", "max_body", "memory"), [(8, 10, 512), (1, 100, 64 * 1024)])
def test_a_largest_call_is_held_whatever_memory_there_is(processes: int, max_body: int, memory: int) -> None:
    """Also while it arrives, and while its key is looked up: it would be answered 503 each time that it comes."""
    held = Memory(most_held(processes, max_body * MIB, memory * MIB))
    size = max_body * MIB + CALL_COST
    assert held.may_wait(size)
    held.hold(2 * size)
    assert (held.is_crowded, held.has_room) == (False, True)
