"""The kind of target that is a bucket of an object store: S3, and whatever speaks its language.

Who we are, and where the store is, its library reads from the environment as all programs do that know S3:
`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …, or it asks the machine that it
runs on. None of that is in a message of ours, and neither is what the store answers, which may quote it.
"""

import asyncio
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import S3Store

from ingest.errors import SettingsError, Unavailable
from workers.export.targets import Stored

if TYPE_CHECKING:
    from obstore import PutMode, PutResult

T = TypeVar("T")

#: How often a request is tried again, and for how long in all: the next run does what this one cannot.
RETRIES, PATIENCE = 4, timedelta(seconds=60)
#: Seconds to wait for a connection, and for an answer.
CONNECT_TIMEOUT, TIMEOUT = timedelta(seconds=5), timedelta(seconds=60)
#: Bytes of the parts in which a large file is sent, and how many are under way: all of them are in memory.
PART, PARTS = 8 * 1024 * 1024, 3
#: How the names of files begin that are being written on this machine; they have events of people in them.
UNFINISHED = "ingest-export-"
#: Seconds for which such a file is left alone though nobody seems to use it: it may be about to be locked.
YOUNG = 60.0
#: Seconds after which one who waits for an answer looks whether a signal has come.
WAKE_INTERVAL = 1.0
#: Where a machine of Amazon's is asked who it is, which is done where nobody says who we are.
_MACHINE = "169.254."
#: What its library says of an answer that no object store gives: a page, or headers without what all of them have.
_NO_STORE = re.compile(r"Got invalid \w+ response|Unable to extract metadata")
_STATUS = re.compile(r"\b([45][0-9]{2}) [A-Z]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}")


class Bucket:
    """A bucket, or a part of it under a prefix."""

    def __init__(self, store: S3Store, shown: str, prefix: str) -> None:
        self._store = store
        self._shown = shown
        self._prefix = prefix
        #: What was read is called by this, so that it is not replaced if somebody else has done so meanwhile.
        self._read: dict[str, str | None] = {}

    @classmethod
    def of(cls, url: str) -> Self:
        """The bucket of a URL.

        Raises:
            SettingsError: it is not written as `s3://bucket/prefix`.
        """
        try:
            parts = urlsplit(url)
        except ValueError:  # such as of a bracket
            parts = urlsplit("")
        prefix = parts.path.strip("/")
        if not _NAME.fullmatch(parts.netloc) or parts.query or parts.fragment or not prefix.isprintable():
            raise SettingsError("Write the bucket to export to as s3://bucket/prefix, and no more than that.")
        try:
            store = S3Store(
                parts.netloc,
                # Without TLS only where somebody has written http:// into AWS_ENDPOINT_URL.
                client_options={"connect_timeout": CONNECT_TIMEOUT, "timeout": TIMEOUT, "allow_http": True},
                retry_config={"max_retries": RETRIES, "retry_timeout": PATIENCE},
            )
        except exceptions.BaseError:
            raise SettingsError(
                "The variables that begin with AWS_ are not what S3 needs: see docs/export.md."
            ) from None
        return cls(store, f"s3://{parts.netloc}/{prefix}".rstrip("/"), f"{prefix}/" if prefix else "")

    @property
    def shown(self) -> str:
        """The URL."""
        return self._shown

    @contextmanager
    def alone(self) -> Iterator[None]:
        """An object store has no locks: who is second finds out when it writes the manifest.

        What exports that were killed have left unfinished on this machine is deleted, as nothing else would.
        """
        for left in Path(tempfile.gettempdir()).glob(f"{UNFINISHED}*"):
            with suppress(OSError), open(left, "rb", opener=_open_at_once) as file:  # another user's, say
                if os.fstat(file.fileno()).st_mtime < time.time() - YOUNG:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()
        yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Where this machine has files that do not last."""
        with tempfile.NamedTemporaryFile(prefix=UNFINISHED) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # it is in use
            yield Path(file.name)

    def folders(self) -> Sequence[str]:
        """Those directly under the prefix."""
        with self._explained():
            found = _answer(
                lambda: obstore.list_with_delimiter_async(self._store, self._prefix.rstrip("/") or None)
            )
            return [name.rstrip("/").rpartition("/")[2] for name in found["common_prefixes"]]

    def listed(self, folder: str) -> Mapping[str, Stored]:
        """By what the store says of them."""
        with self._explained():
            found = _answer(lambda: obstore.list_with_delimiter_async(self._store, f"{self._prefix}{folder}"))
            files = found["objects"]
            return {one["path"].rpartition("/")[2]: Stored(one["size"], one["e_tag"]) for one in files}

    def read(self, name: str) -> bytes | None:
        """What is in a small file."""
        with self._explained():
            try:
                found = _answer(lambda: obstore.get_async(self._store, self._prefix + name))
                data = bytes(_answer(found.bytes_async))
            except (exceptions.NotFoundError, FileNotFoundError):
                self._read[name] = None
                return None
            self._read[name] = found.meta["e_tag"]
            return data

    def put(self, name: str, path: Path) -> Stored:
        """In parts, if it is large; nobody sees any of it before it is whole."""
        with self._explained():
            size = path.stat().st_size
            done = _answer(
                lambda: obstore.put_async(
                    self._store, self._prefix + name, path,
                    use_multipart=size > PART, chunk_size=PART, max_concurrency=PARTS,
                )
            )  # fmt: skip  # a list to be read across
            return Stored(size, done["e_tag"])

    def write(self, name: str, data: bytes) -> None:
        """In place of what was read, and of nothing else."""
        etag = self._read.get(name)
        with self._explained():
            try:
                done = self._written(name, data, {"e_tag": etag} if etag else "create")
            except exceptions.NotSupportedError:  # as some stores are that only speak like S3
                done = self._written(name, data, "overwrite")
            except (exceptions.PreconditionError, exceptions.AlreadyExistsError, FileExistsError):
                raise Unavailable(
                    f"Another export has written to {self._shown} meanwhile: run the same again."
                ) from None
            self._read[name] = done["e_tag"]

    def delete(self, name: str) -> None:
        """Delete a file."""
        with self._explained():
            _answer(lambda: obstore.delete_async(self._store, self._prefix + name))

    def _written(self, name: str, data: bytes, mode: "PutMode") -> "PutResult":
        return _answer(lambda: obstore.put_async(self._store, self._prefix + name, data, mode=mode))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError):
            raise self._refused() from None
        except exceptions.BaseError as error:
            raise self._failed(str(error)) from None

    def _refused(self) -> SettingsError:
        return SettingsError(
            f"{self._shown} refuses us: see that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are right, and that "
            "their owner may list, read, write and delete there."
        )

    def _failed(self, said: str) -> SettingsError | Unavailable:
        if _MACHINE in said:
            return SettingsError(
                f"Nobody says who we are to {self._shown}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        status = _STATUS.search(said)
        if status is not None and status[1] in ("401", "403"):
            return self._refused()
        if "NoSuchBucket" in said or (status is not None and status[1] == "404"):
            return SettingsError(f"There is no bucket for {self._shown}: make it, or name another.")
        if _NO_STORE.search(said):
            return Unavailable(
                f"What answers for {self._shown} is no object store, but perhaps a proxy or a page to log in: see "
                "where AWS_ENDPOINT_URL leads from here."
            )
        why = f"it answered {status[1]}" if status else "it does not answer"
        return Unavailable(f"{self._shown} cannot be used: {why}; run the same again, which does the rest.")


def _open_at_once(name: str, flags: int) -> int:
    """What anybody may have put there: a named pipe would be waited for, and a link may lead anywhere."""
    return os.open(name, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def _answer(ask: Callable[[], Awaitable[T]]) -> T:
    """Wait for an answer; Ctrl-C and time limits end that, while the library's blocking calls are deaf."""

    async def asked() -> T:
        answer = asyncio.ensure_future(ask())
        # A signal that comes just before the event loop begins to wait is seen when it wakes.
        while not (await asyncio.wait({answer}, timeout=WAKE_INTERVAL))[0]:
            pass
        return answer.result()

    return asyncio.run(asked())
