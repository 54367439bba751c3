"""Whose password that is, found out in a thread: hashing one takes a quarter of a second and 32 MiB."""

import asyncio
import hmac
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from ingest import password_hash
from ingest.console.sessions import Role
from ingest.password_hash import PasswordHash, plain_bytes

#: Passwords that are looked at at the same time; others wait for their turn.
THREADS = 2
#: Characters of a password; nobody types more.
LONGEST = 1024


class Passwords:
    """Those that are set."""

    def __init__(self, passwords: Mapping[Role, str]) -> None:
        """As they are in the settings, plain or hashed."""
        self._hashes = {
            role: PasswordHash.read(text) if password_hash.is_meant(text) else text
            for role, text in passwords.items()
        }
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")

    async def role_of(self, password: str) -> Role:
        """What this password lets somebody be: all are compared, so the time says nothing of which was near."""
        if not 0 < len(password) <= LONGEST:
            return Role.NOBODY
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._role_of, password)

    def _role_of(self, password: str) -> Role:
        return max([role for role, known in self._hashes.items() if _matches(known, password)] or [Role.NOBODY])

    def close(self) -> None:
        """Wait for nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _matches(known: PasswordHash | str, password: str) -> bool:
    if isinstance(known, str):
        return hmac.compare_digest(plain_bytes(known), plain_bytes(password))
    return known.matches(password)
