"""Where calls are kept while Redis is away: files in a folder, each batch on disk before it is acknowledged.

    keep ─▶ the segment being written ─▶ waiting segments, oldest first ─▶ portions ─▶ Redis ─▶ deleted
                                                  ▲
                              segments of processes that have died

Each process writes files of its own (`segment` says what is in them) and holds a lock on a file that bears its
name; the system lets go of that lock however the process ends, and whoever finds it free takes over the segments
(`folder`). So what an endpoint kept is replayed by its successor, or by a sibling that shares the folder.
`keeping` is one process's part in it, `reading` the way back.
"""

from ingest.spool.directory import Figures, look, prepare
from ingest.spool.reader import Portion
from ingest.spool.spool import Spool

__all__ = ["Figures", "Portion", "Spool", "look", "prepare"]
