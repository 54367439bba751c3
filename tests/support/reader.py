"""Somebody who types what a page says, in a folder that looks like a fresh clone."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.pages import ROOT, Block, blocks, lacking
from tests.support.running import Process, clean_environ, free_port, until

#: Seconds for one block: a mailing's worth of calls, on a machine that is busy. It bounds a hang only.
LONGEST = 300.0
#: The ports that pages name.
PORTS = ("8000", "8001", "8081")


class Reader:
    """A shell in a folder of its own; ports are free ones, which take the place of those that pages name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for file in ROOT.iterdir():
            if file.name not in {".git", "data", "build", "dist", "site"}:
                (folder / file.name).symlink_to(file)
        self._ports = {port: str(free_port()) for port in PORTS}
        self._environ = clean_environ() | {"PORT": self._ports["8000"], "INGEST_CONSOLE_PORT": self._ports["8001"]}
        del self._environ["INGEST_SPOOL_DIR"]
        self._said_before = ""
        self._stays: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.interrupt()

    def follow(self, page: Path) -> int:
        """Do what the page says, in order; how many blocks that were."""
        todo = [block for block in blocks(page) if block.purpose]
        for block in todo:
            if block.purpose == "file":
                (self.folder / block.more).write_text(block.text)
            elif block.ready:
                self._start(block, block.ready)
            else:
                self._type(block)
        return len(todo)

    def interrupt(self) -> None:
        """Ctrl-C in the terminal where something stays; it must end in order."""
        while self._stays:
            process = self._stays.pop()
            os.killpg(process.pid, signal.SIGINT)
            with _ended(process.pid):
                process.wait(LONGEST)
            assert "Traceback" not in process.output

    def _start(self, block: Block, ready: str) -> None:
        if block.takes_the_place:
            self.interrupt()
        [(command, shown)] = block.commands
        log = self.folder / f"stays-{len(list(self.folder.glob('stays-*.log')))}.log"
        process = Process(["bash", "-c", self._script(command)], self._environ, log, self.folder)
        self._stays.append(process)
        until(lambda: ready in process.output, ready, LONGEST)
        assert lacking(shown, self._as_shown(process.output)) is None, process.output

    def _type(self, block: Block) -> None:
        for command, shown in block.commands:
            if block.pattern:
                until(partial(self._is_printed, command, shown, block.pattern), block.pattern, LONGEST)
                continue
            printed = self._run(command)
            missing = lacking(shown, printed)
            assert missing is None, f"{command}\nsays nothing like\n{missing}\nbut\n{printed}"
            kept = [line for line in command.splitlines() if re.match(r"(\.|export) ", line)]
            self._said_before += "".join(f"{line}\n" for line in kept)

    def _is_printed(self, command: str, shown: list[str], pattern: str) -> bool:
        printed = self._run(command)
        return re.search(pattern, printed) is not None and lacking(shown, printed) is None

    def _run(self, command: str) -> str:
        with (
            subprocess.Popen(
                ["bash", "-c", self._script(command)],
                cwd=self.folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            ) as shell,
            _ended(shell.pid),
        ):
            printed = "".join(shell.communicate(timeout=LONGEST))
        assert shell.returncode == 0, f"{command}\nended with {shell.returncode}:\n{printed}"
        return self._as_shown(printed)

    def _script(self, command: str) -> str:
        """What a shell is given that has done before what the page said."""
        return f"set -e\n{self._said_before}{self._as_here(command)}"

    def _as_here(self, command: str) -> str:
        """With our ports for those of the page."""
        return re.sub(rf"(?<=[: ])({'|'.join(PORTS)})\b", lambda found: self._ports[found[1]], command)

    def _as_shown(self, printed: str) -> str:
        """With the folder that pages name for ours; numbers, and so ports, are left aside."""
        return re.sub(r"\x1b\[[\d;]*m", "", printed).replace(str(self.folder), "/home/you/ingest")


@contextmanager
def _ended(group: int) -> Iterator[None]:
    """Whatever a shell has started is ended with it when it takes too long."""
    try:
        yield
    except subprocess.TimeoutExpired:
        os.killpg(group, signal.SIGKILL)
        raise
