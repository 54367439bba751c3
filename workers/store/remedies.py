"""What to do about a database that cannot be used: the end of the sentence that says so."""

import sqlite3
from collections.abc import Mapping

#: Where nobody answers, or not to us.
CONNECTING = "; see that it runs and that DATABASE_URL is right"
#: Where a file, or its folder, is not there or is not ours.
RIGHTS = "; see that DATABASE_URL is right and that this user may write the file and its folder"
#: By the primary code of SQLite's error.
OF_FILE: Mapping[int, str] = {
    sqlite3.SQLITE_CANTOPEN: RIGHTS,
    sqlite3.SQLITE_PERM: RIGHTS,
    sqlite3.SQLITE_READONLY: RIGHTS,
    sqlite3.SQLITE_FULL: "; make room on its disk",
    sqlite3.SQLITE_BUSY: "; another process is writing, so try again",
    sqlite3.SQLITE_LOCKED: "; another process is writing, so try again",
    sqlite3.SQLITE_CORRUPT: "; put a backup in its place with `ingest db restore`",
    sqlite3.SQLITE_NOTADB: "; see which file DATABASE_URL names",
    sqlite3.SQLITE_IOERR: "; see that its disk is there and well",
}
#: MariaDB's numbers for servers that cannot be reached, users that are not let in, databases that are not there.
UNCONNECTED = frozenset({1044, 1045, 1049, 2002, 2003, 2005, 2006, 2013})


def of_file(error: object) -> str:
    """What to do about an error of SQLite; empty where its text has to do."""
    return OF_FILE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")  # what is above says which of its kind
