"""What a request is addressed to: the path and query that the sender signed, and the host.

Nearly always the request line holds just that (origin-form). Some proxies send the whole address instead
(absolute-form, RFC 9112, section 3.2.2): `POST http://hooks.example.nl/copernica HTTP/1.1`.
"""

import re
from typing import NamedTuple

from ingest.copernica.header_fields import Headers

# No userinfo, which RFC 9110 (4.2.4) has a recipient treat as an error, and no fragment, which is no part of it.
_ABSOLUTE = re.compile(
    rb"http(s?)://((?:\[[0-9a-f:.]+\]|[a-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]*)?)((?:[/?][^#]*)?)", re.IGNORECASE
)


class Addressed(NamedTuple):
    """A request's path and query as in origin-form, and its host if the request line names it (else None)."""

    target: bytes
    host: bytes | None

    def as_signed(self, headers: Headers) -> Headers:
        """The headers as the sender signed them: with the host that counts."""
        if self.host is None:
            return headers
        return [(b"Host", self.host), *(header for header in headers if header[0].lower() != b"host")]


def addressed(target: bytes, host: bytes) -> Addressed | None:
    """Read the target of a request line; None if a webhook cannot be addressed like that.

    A host in the target counts instead of the header's `host`. Written in another way (case, default port), it is
    the same host, and what the header says is what the sender signed.
    """
    if target.startswith(b"/"):
        return Addressed(target, None)
    if (match := _ABSOLUTE.fullmatch(target)) is None:
        return None
    secure, authority, path = match.groups()
    port = b":443" if secure else b":80"
    if _plain(host, port) == _plain(authority, port):
        authority = host
    return Addressed(path if path.startswith(b"/") else b"/" + path, authority)


def _plain(host: bytes, port: bytes) -> bytes:
    return host.lower().removesuffix(port).removesuffix(b":")
