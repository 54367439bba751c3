"""Which ids of messages are the same, however they are written."""

#: What may stand beside an id on one side only, as its case may be another: nobody has two messages that differ in
#: these only.
BESIDE = "<> \t\r\n"


def bare(message_id: str) -> str:
    """The one way to write an id that all ways to write it have in common."""
    return message_id.strip(BESIDE).lower()
