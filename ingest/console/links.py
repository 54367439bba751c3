"""Where things are that several pages lead to."""

from urllib.parse import quote

from ingest.console.seals import Seals

#: Characters of a message id up to which it is part of a path.
LONGEST = 1000


def message_path(message_id: str) -> str:
    """The page of a message. Browsers take a path of dots for another one."""
    if message_id.strip(".") and len(message_id) <= LONGEST:
        return f"/message/{quote(message_id, safe='')}"
    return f"/message?id={quote(message_id, safe='')}"


def recipient_path(address: str, seals: Seals) -> str:
    """The page of a recipient."""
    return f"/recipient?address={quote(seals.closed(address))}"
