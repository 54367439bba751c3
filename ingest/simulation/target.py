"""Where simulated calls are sent, who signs them, and what they look like on the wire."""

import ssl
from itertools import cycle
from typing import NamedTuple
from urllib.parse import urlsplit

from ingest.errors import SettingsError
from ingest.simulation.calls import Call
from ingest.simulation.forgeries import FORGERIES, forge
from ingest.simulation.signer import Signer


class Request(NamedTuple):
    """A call as the bytes of a request, and whether it is forged."""

    call: Call
    data: bytes
    forged: bool


class Target:
    """Where calls are sent, and who signs them."""

    def __init__(self, url: str, signer: Signer | None = None, forge: float = 0.0) -> None:
        """Without a `signer`, calls are sent unsigned; `forge` is the share of them to forge.

        Raises:
            SettingsError: nothing can be sent to this URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"Nothing can be sent to {url!r}: write http://host:port/copernica.")
        self.url = url
        self.host = parts.hostname
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host_header = parts.netloc.rpartition("@")[2]
        self._signer = signer
        self._forge = forge
        self._forgeries = cycle(FORGERIES)
        #: Forged calls that should have been sent by now and were not, as a fraction of one.
        self._forgeries_due = 0.0

    def request(self, call: Call) -> Request:
        """A call, signed or forged."""
        self._forgeries_due += self._forge if self._signer else 0.0
        forged = self._forgeries_due >= 1
        about = self._path, self._host_header, call.content_type, call.body
        if self._signer is None:
            headers = {
                "Host": self._host_header,
                "Content-Type": call.content_type,
                "Content-Length": str(len(call.body)),
            }
        elif forged:
            self._forgeries_due -= 1
            headers = forge(self._signer, next(self._forgeries), *about)
        else:
            headers = self._signer.sign(*about)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return Request(call, f"POST {self._path} HTTP/1.1\r\n{lines}\r\n".encode() + call.body, forged)
