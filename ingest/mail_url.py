"""`INGEST_ALERT_SMTP`: by which server, from whom and to whom mail goes."""

from typing import NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

#: How it is written, for messages.
FORM = "smtp://user:password@host:587?from=ingest@example.nl&to=you@example.nl"
#: Ports of the two schemes, where none is named: with STARTTLS, and with TLS from the start.
PORTS = {"smtp": 587, "smtps": 465}


class MailURL(NamedTuple):
    """A mail server and the addresses of a mail."""

    host: str
    port: int
    #: Whether the connection is encrypted from the start; otherwise STARTTLS is used where the server offers it.
    tls: bool
    user: str
    password: str
    sender: str
    recipients: tuple[str, ...]

    @classmethod
    def read(cls, url: str) -> Self:
        """Read it.

        Raises:
            ValueError: it is not such a URL; the message does not show it.
        """
        try:
            parts = urlsplit(url.strip())
            port, host = parts.port, parts.hostname
        except ValueError:
            raise ValueError(f"write {FORM}") from None
        asked = parse_qs(parts.query)
        senders, recipients = asked.pop("from", []), asked.pop("to", [])
        if parts.scheme not in PORTS or not host or parts.path not in ("", "/") or parts.fragment or asked:
            raise ValueError(f"write {FORM}")
        to = tuple(address.strip() for one in recipients for address in one.split(",") if address.strip())
        if len(senders) != 1 or not to or not all(map(_is_address, (*senders, *to))):
            raise ValueError(f"it should name one address as `from` and at least one as `to`: {FORM}")
        return cls(
            host,
            port or PORTS[parts.scheme],
            parts.scheme == "smtps",
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            senders[0],
            to,
        )


def _is_address(text: str) -> bool:
    name, at, domain = text.rpartition("@")
    return bool(name and at and domain) and text.isprintable() and not set(text) & set(' <>,;:"()[]\\')
