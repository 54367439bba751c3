"""A common start of several processes: starting an interpreter costs more than many an attack."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tests.support.running import until

#: Seconds for all processes to start.
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Start:
    """The start of one phase; its folder is the phase's own."""

    folder: Path

    def wait(self, name: str) -> None:
        """Say that this process is ready, and wait for the signal."""
        (self.folder / name).touch()
        deadline = time.monotonic() + PATIENCE
        while not self._signal.exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def give(self, names: Collection[str]) -> None:
        """Wait until all of these are ready, and give the signal."""
        until(lambda: all((self.folder / name).exists() for name in names), "the processes of a phase", PATIENCE)
        self._signal.touch()

    @property
    def _signal(self) -> Path:
        return self.folder / "start"
