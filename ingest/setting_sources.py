"""Where settings come from: the environment, a file such as `.env`, and what runs beside us, such as `ingest dev`.

The environment wins over the file, and both over what a running `ingest dev` uses. Nothing here is read unless a
command asks for it: settings are read from a mapping that is passed on.
"""

import fcntl
import io
import json
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ingest import shown
from ingest.errors import SettingsError

#: The file that is read if it lies in the working directory and no other is named.
DEFAULT_FILE = Path(".env")
#: The variable that names another one, or none.
FILE_VARIABLE = "INGEST_ENV_FILE"
#: Its value where no file is to be read: for tests, and for processes whose parent has read it.
NO_FILE = "off"
#: Bytes of such a file: more is something else, and no system passes much more on to a process.
MAX_SIZE = 64 * 1024

#: Where a setting may come from, besides a file.
ENVIRONMENT, COMMAND_LINE, DEV, DEFAULT = "environment", "command line", "ingest dev or all", "default"

#: What follows values where a file has Windows' line ends, which `docker --env-file` keeps, or a secret was made
#: by `echo`. It is no part of them: the data would be in a folder whose name ends so, beside the volume.
LINE_ENDS = "\r\n"

# A line whose value is between single quotes.
_LITERAL = re.compile(r"[^=]+=[^\S\r\n]*'")

#: How the names of our own variables begin.
PREFIX = "INGEST_"
#: Variables of ours that are no settings: for tests, and for processes that we start.
HIDDEN = frozenset({"INGEST_FAIL_AT", "INGEST_PARENT_PID"})
# What Kubernetes, and Docker's links of old, set in every container for a service whose name begins with `ingest`.
_SERVICE_LINK = re.compile(
    r"INGEST_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT\w*|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:ADDR|PORT|PROTO))?)?)"
)
_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")

#: In the data folder: what a running `ingest dev` uses, and holds a lock on.
DEV_FILE = "dev.json"
#: What is a process's own business, even beside a running `ingest dev`: where it listens, and how it logs.
OF_ONE_PROCESS = frozenset({"HOST", "PORT", "WEB_CONCURRENCY", "LOG_LEVEL", "LOG_FORMAT", FILE_VARIABLE})


@dataclass(frozen=True, slots=True)
class Given:
    """What is set, and by whom."""

    values: Mapping[str, str]
    #: By name, where it was set: `environment`, `file .env`, `command line`, `ingest dev or all`, or `default`.
    origins: Mapping[str, str]
    #: The file that was read.
    file: Path | None = None
    #: Names of secrets that a running `ingest dev` has, and we have not.
    withheld: frozenset[str] = frozenset()


def gather(environ: Mapping[str, str], named: Path | None = None) -> Given:
    """The environment, what a file sets besides, and what a running `ingest dev` uses besides.

    Raises:
        SettingsError: the file cannot be read, or should not be trusted.
    """
    file, from_file = _from_file(environ, named)
    values = {**environ, **from_file}
    origins = dict.fromkeys(environ, ENVIRONMENT) | dict.fromkeys(from_file, f"file {file}")
    if file is not None:
        values[FILE_VARIABLE] = str(file)
        origins[FILE_VARIABLE] = ENVIRONMENT if environ.get(FILE_VARIABLE) else DEFAULT
    if named is not None:
        origins[FILE_VARIABLE] = COMMAND_LINE
    beside, withheld = running_dev(Path(values.get("INGEST_DATA_DIR", "").strip(LINE_ENDS) or "data"))
    elsewhere = next(filter(None, map(values.get, ("REDIS_URL", "REDIS_TLS_URL", "INGEST_STREAM_URLS"))), None)
    if elsewhere and elsewhere != beside.get("REDIS_URL"):
        return Given(values, origins, file)  # ours is another site
    added = {name: value for name, value in beside.items() if not values.get(name)}
    values |= added
    origins |= dict.fromkeys(added, DEV)
    return Given(values, origins, file, frozenset(name for name in withheld if not values.get(name)))


# --- files ---


def _from_file(environ: Mapping[str, str], named: Path | None) -> tuple[Path | None, dict[str, str]]:
    """The file that was read, if any, and what it sets besides the environment."""
    variable = environ.get(FILE_VARIABLE, "").strip()
    chosen = named or (Path(variable) if variable else None)
    if chosen is not None and str(chosen).lower() == NO_FILE:
        return None, {}
    path = chosen or DEFAULT_FILE
    content = _content(path, trusted=chosen is not None)
    if content is None:
        return None, {}
    # A variable that is there and empty counts, so that one can be turned off.
    return path, {name: value for name, value in read(path, content, environ).items() if name not in environ}


def _content(path: Path, trusted: bool) -> bytes | None:
    """What is in a file; None if it is not trusted, and there is none.

    Raises:
        SettingsError: it cannot be read, or should not be trusted.
    """
    try:
        with open(path, "rb", opener=None if trusted else _open_at_once) as file:
            if not trusted and not _may_be_trusted(os.fstat(file.fileno()), os.lstat(path)):
                return None
            return file.read(MAX_SIZE + 1)
    except OSError as error:
        if not trusted and isinstance(error, FileNotFoundError | IsADirectoryError):
            return None  # many keep a virtual environment under this name
        raise SettingsError(
            f"The file of settings {path} cannot be read ({error.strerror}): let this user read it, or name "
            "another."
        ) from None


def _open_at_once(path: str, flags: int) -> int:
    """For `open`: a pipe that somebody put there under the usual name would hold us up."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)


def _may_be_trusted(found: os.stat_result, name: os.stat_result) -> bool:
    """Whether what lies in the working directory is a file that only we could have written, or have chosen.

    Whoever can write it could have us use their servers and import their code.

    Raises:
        SettingsError: others could.
    """
    if not stat.S_ISREG(found.st_mode):
        return False
    strangers = {found.st_uid, name.st_uid} - {os.geteuid(), 0}  # a link's owner chose the file
    if strangers:
        raise SettingsError(
            f"{DEFAULT_FILE} in this folder belongs to another user (uid {strangers.pop()}), so it is not read: "
            f"name it with --env-file {DEFAULT_FILE} if you trust it, or set {FILE_VARIABLE}={NO_FILE}."
        )
    # A group of one's own is that of many a user's files.
    others = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != os.getegid())
    if others:
        raise SettingsError(
            f"Others may write {DEFAULT_FILE} in this folder, so it is not read: chmod 600 {DEFAULT_FILE}."
        )
    return True


def read(path: Path, content: bytes, environ: Mapping[str, str]) -> dict[str, str]:
    """What a file sets, written as python-dotenv reads it: `NAME=value`, `export`, quotes, comments, `${NAME}`.

    What is between single quotes stays as it is, as with Docker, systemd and shells; python-dotenv expands it.

    Raises:
        SettingsError: it is not such a file, or a line of it cannot be read.
    """
    from dotenv.parser import parse_stream  # noqa: PLC0415  # only where there is a file
    from dotenv.variables import parse_variables  # noqa: PLC0415

    if len(content) > MAX_SIZE or b"\0" in content:
        raise SettingsError(f"{path} is not a file of settings: it should have lines such as NAME=value.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8: save it as such.") from None
    values: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            before = re.match(r"\s*", binding.original.string)  # empty lines belong to what follows them
            line = binding.original.line + (before[0].count("\n") if before else 0)
            raise SettingsError(f"{path}, line {line}, cannot be read: write NAME=value.")
        if binding.key and binding.value is not None:
            if _LITERAL.match(binding.original.string):
                values[binding.key] = binding.value
                continue
            known = {**values, **environ}
            values[binding.key] = "".join(atom.resolve(known) for atom in parse_variables(binding.value))
    return values


# --- names ---


def unknown(names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    """A sentence for each name that begins as ours do and is none of them, with the one that is probably meant."""
    for name in sorted(names):
        if name in known or name in HIDDEN or not name.upper().startswith(PREFIX) or _SERVICE_LINK.fullmatch(name):
            continue
        # It may have our prefix where it should not.
        meant = shown.nearest(sorted(known), name, name.upper().removeprefix(PREFIX))
        yield f"{name} is not a setting; did you mean {meant}?" if meant else f"{name} is not a setting."


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes set this, for a service called `ingest-metrics` say: it is no setting of ours."""
    return name.startswith(PREFIX) and name.endswith("_PORT") and bool(_SERVICE_ADDRESS.match(value))


# --- a running `ingest dev` ---


@contextmanager
def told(folder: Path, values: Mapping[str, str], withheld: Iterable[str]) -> Iterator[None]:
    """For as long as the block runs, tell commands beside this `ingest dev` what it uses.

    `withheld` are the names of its secrets. Whoever reads the file sees by a lock whether its writer is alive.

    Raises:
        OSError: the data folder cannot be written.
    """
    shared = {name: value for name, value in values.items() if not _is_of_one_process(name)}
    with (folder / DEV_FILE).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # readers hold it for a moment only
        file.truncate(0)
        file.write(json.dumps({"settings": shared, "withheld": sorted(withheld)}, indent=1) + "\n")
        file.flush()
        try:
            yield
        finally:
            (folder / DEV_FILE).unlink(missing_ok=True)


def running_dev(folder: Path) -> tuple[dict[str, str], frozenset[str]]:
    """What the `ingest dev` that runs in a data folder uses, and the names of its secrets."""
    try:
        with open(folder / DEV_FILE, opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            ours = stat.S_ISREG(found.st_mode) and found.st_uid in (os.geteuid(), 0)
            if not (ours and _is_locked(file)):
                return {}, frozenset()
            left = json.loads(file.read(MAX_SIZE))
        settings = {str(name): str(value) for name, value in left["settings"].items()}
        return settings, frozenset(left["withheld"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none ran there, or one is just starting
        return {}, frozenset()


def _is_locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _is_of_one_process(name: str) -> bool:
    return name in OF_ONE_PROCESS or name.endswith("_PORT")
