"""Where calls are kept while Redis is unavailable: files in a folder, on disk before a call is answered 200.

    keep ─▶ the segment being written ─▶ waiting segments, oldest first ─▶ portions ─▶ Redis ─▶ deleted
                                                  ▲
                              segments of processes that have died

    segment     the format of one file, and writing it
    reader      reading it back, in portions
    locks       by which processes see that the others are alive
    directory   the folder that processes share: whether it is of use, whose segments are whose, how much there is
    own_segments  what of it one process looks after
    spool       one process's part in it: `Spool`

Each process writes files of its own and holds a lock on a file that bears its name. The system releases that
lock however the process ends, and whoever finds it free takes over the segments. So what an endpoint kept is
replayed by its successor, or by a sibling that shares the folder.
"""

from ingest.spool.directory import FolderFigures, delete_bad, look, require
from ingest.spool.reader import Portion
from ingest.spool.spool import Spool

__all__ = ["FolderFigures", "Portion", "Spool", "delete_bad", "look", "require"]
