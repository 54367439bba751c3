"""When calls were lost."""

import time


class Losses:
    """Unix times in seconds at which the first and the last call was answered 503; None if none was."""

    def __init__(self) -> None:
        self.first_at: float | None = None
        self.last_at: float | None = None

    def note(self) -> None:
        """A call is lost now."""
        self.last_at = time.time()
        self.first_at = self.first_at or self.last_at
