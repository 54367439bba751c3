"""How a text is marked that is written in one place and translated in another."""


def _(text: str) -> str:
    """Mark a text as one that is to be translated where it is shown."""
    return text
