"""Addresses of people as they stand in addresses of pages: sealed, so that no log and no history has them.

What is in a URL is kept by proxies and browsers, and goes wherever somebody pastes it. So a page of a person is
reached by a text that only this console can open. The same address always has the same seal: a bookmark stays good
for as long as INGEST_CONSOLE_SECRET does, and without that until the console starts anew.
"""

import base64
import binascii
import hmac
import re

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

#: What a sealed text begins with: `~`, and then base64 of its mark of 16 bytes and of itself.
_SEALED = re.compile(r"~[\w-]{22,}", re.ASCII)
#: What the seal is for, so that it is of no use anywhere else.
_USE = [b"a person, in an address of the console"]


class Broken(Exception):
    """A seal that this console did not make, or made before it had another secret."""


class Seals:
    """Closes and opens texts with a key of the console's own."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESSIV(hmac.digest(secret, b"seals", "sha512"))

    def closed(self, text: str) -> str:
        """A text as a URL may have it."""
        if not text:
            return ""
        data = self._cipher.encrypt(text.encode("utf-8", "surrogatepass"), _USE)
        return "~" + base64.urlsafe_b64encode(data).decode().rstrip("=")

    def opened(self, text: str) -> str:
        """What was sealed; a text that is not sealed as it is.

        Raises:
            Broken: nobody can say any more what it was.
        """
        if not _SEALED.fullmatch(text):
            return text
        try:
            data = base64.urlsafe_b64decode(text[1:] + "=" * (-(len(text) - 1) % 4))
            return self._cipher.decrypt(data, _USE).decode("utf-8", "surrogatepass")
        except (InvalidTag, binascii.Error, ValueError):
            raise Broken from None


SEALS = web.AppKey("seals", Seals)


def prepare(app: web.Application, secret: bytes) -> None:
    """Have an application seal what its addresses say of people."""
    app[SEALS] = Seals(secret)
