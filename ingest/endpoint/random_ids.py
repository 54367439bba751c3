"""Delivery ids of calls that are not verified, and so have no signature to take them from."""

import os

#: Ids for which random bytes are fetched at once: 4 KiB, one system call for 512 ids.
AT_ONCE = 512


class RandomIds:
    """Ids that nobody can guess."""

    def __init__(self) -> None:
        self._left: list[bytes] = []

    def next(self, received_at: int) -> bytes:
        """4 bytes with the second at which a call came in (given in µs), then 8 random ones."""
        if not self._left:
            fresh = os.urandom(8 * AT_ONCE)  # a system call each would cost more than all the rest
            self._left = [fresh[at : at + 8] for at in range(0, len(fresh), 8)]
        return (received_at // 1_000_000).to_bytes(4, "big") + self._left.pop()
