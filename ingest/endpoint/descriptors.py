"""How many files a process may have open, and how many of these are connections.

A process that has no descriptor left cannot begin a segment of the spool when Redis goes, nor look up a key. So
connections get what is left when everything else has its share.
"""

import logging
import resource

from ingest.endpoint.limits import MAX_CONNECTIONS
from ingest.errors import Unavailable

log = logging.getLogger(__name__)

#: Connections that are told that they are too many: they need descriptors beyond the limit while they are.
TURNED_AWAY = 64
#: Descriptors for lookups in DNS: `LOOKUPS` in `ingest.copernica.public_keys`, over UDP and then over TCP.
DNS = 32
#: Descriptors for the socket that listens (`ingest.endpoint.listening`), unless files are few.
LISTENERS = 16
#: Descriptors for everything but connections: DNS, Redis, the spool with its reserve, threads that read files or
#: resolve names, sockets that listen, logs and the event loop, and some to spare.
OWN_FILES = DNS + 16 + 8 + 32 + LISTENERS + 16 + TURNED_AWAY
#: Files that a process must be able to open.
LEAST_FILES = 64


def connection_limit() -> int:
    """Allow as many open files as are needed and possible; returns how many connections that leaves.

    Raises:
        Unavailable: they are too few to serve anybody.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OWN_FILES
    files = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if files < LEAST_FILES:
        raise Unavailable(
            f"A process may open only {files} files here: allow {LEAST_FILES} at least, and {wanted} for "
            f"{MAX_CONNECTIONS} connections (ulimit -n, or LimitNOFILE of systemd)."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files - min(OWN_FILES, files // 2)


def listeners() -> int:
    """How many descriptors there may be for the socket that listens."""
    return max(1, min(LISTENERS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // (4 * LISTENERS)))


def tell_limit(limit: int) -> None:
    """Log that fewer connections are served than usual."""
    if limit < MAX_CONNECTIONS:
        log.warning(
            "a process serves %d connections at most: it may open no more files (ulimit -n; %d would do)",
            limit,
            MAX_CONNECTIONS + OWN_FILES,
        )
