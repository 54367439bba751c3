"""What is told of one setting."""

from enum import StrEnum
from typing import NamedTuple


class Reader(StrEnum):
    """Whose processes use a setting. `ingest dev` and `ingest all` start all of them, so they use every one."""

    #: `ingest serve`.
    ENDPOINT = "endpoint"
    #: `ingest worker --queue events`, and `ingest drain`.
    EVENTS = "workers for events"
    #: `ingest worker --queue handlers`.
    HANDLERS = "workers for handlers"
    #: `ingest console`.
    CONSOLE = "console"
    #: What is typed at a prompt, or run by cron.
    COMMANDS = "commands"


ENDPOINT, EVENTS, HANDLERS, CONSOLE, COMMANDS = Reader
#: Those that store and handle events.
WORKERS = (EVENTS, HANDLERS)
#: All that uses Redis and the database.
ALL = tuple(Reader)


class Setting(NamedTuple):
    """One setting, for people."""

    name: str
    #: What it is, and what its values do.
    means: str
    #: What one sees, and what it costs, if it is wrong or missing.
    if_wrong: str
    #: Whose processes use it: all of these need the same value.
    read_by: tuple[Reader, ...]
    #: A value that can be used as it stands here.
    example: str = ""
    #: Of a number.
    unit: str = ""
    #: What counts where it is not set, if that is no fixed value.
    unset: str = ""
