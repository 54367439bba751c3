"""How Copernica names its customers: in the header X-Copernica-ID, and as people write it."""


def full_name(account: str) -> str:
    """An account as X-Copernica-ID has it; people write it in upper or lower case, with `-` or `_`, or its number.

    A bare number is that of an `account`: an `environment`, Copernica's other kind of customer, counts its own.
    """
    name = spelled(account.encode()).decode()
    return f"account-{name}" if name.isdigit() else name


def spelled(name: bytes) -> bytes:
    """A name in the one way in which it is compared: editions of Copernica write `-` or `_`."""
    return name.strip().lower().replace(b"_", b"-")
