"""Hashes of passwords, as `ingest console hash-password` prints them: `scrypt$32768$8$3$SALT$DIGEST`.

How dear a hash is to make stands in it, so that those which were made before stay good when that changes.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import unicodedata
from typing import NamedTuple, Self

#: How dear one is: 32 MiB, and a quarter of a second of a processor, which is what OWASP asks for as the least.
COST, BLOCK, LANES = 2**15, 8, 3
#: Between these is what a hash may ask for: less protects nothing, more would take all memory at each sign-in.
LEAST_COST, MOST_MEMORY, MOST_LANES = 2**14, 128 * 1024**2, 16
#: Bytes of the salt and of the digest.
SALT_SIZE, DIGEST_SIZE = 16, 32
#: What other programs write, and what a shell leaves of ours if it took the dollar signs for variables.
_HASH_OF_SORTS = re.compile(
    r"scrypt(?:[$0-9]|$)|\$(?:argon2|scrypt|pbkdf2|2[abxy]?|[1567y])[\w-]*\$|\{[A-Z0-9-]+\}"
)


class PasswordHash(NamedTuple):
    """What is known of a password without knowing it."""

    cost: int
    block: int
    lanes: int
    salt: bytes
    digest: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        """From what `str` makes.

        Raises:
            ValueError: it is something else, cut off, or asks for too little or too much work.
        """
        try:
            scheme, cost, block, lanes, salt, digest = text.split("$")
            found = cls(int(cost), int(block), int(lanes), _bytes(salt), _bytes(digest))
        except (ValueError, binascii.Error):
            raise ValueError(WRONG) from None
        right_sizes = len(found.salt) >= SALT_SIZE and len(found.digest) == DIGEST_SIZE
        power_of_two = found.cost > 0 and not found.cost & (found.cost - 1)
        if scheme != "scrypt" or not right_sizes or not power_of_two:
            raise ValueError(WRONG)
        if not (found.block in range(1, 33) and found.lanes in range(1, MOST_LANES + 1)):
            raise ValueError(WRONG)
        if found.cost < LEAST_COST or 128 * found.cost * found.block > MOST_MEMORY:
            raise ValueError(WRONG)
        return found

    @classmethod
    def of(cls, password: str, cost: int = COST, lanes: int = LANES) -> Self:
        """A new one; takes a quarter of a second, unless it is to be a cheap one."""
        salt = secrets.token_bytes(SALT_SIZE)
        return cls(cost, BLOCK, lanes, salt, _digest(password, cost, BLOCK, lanes, salt))

    def __str__(self) -> str:
        salt, digest = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (self.salt, self.digest))
        return f"scrypt${self.cost}${self.block}${self.lanes}${salt}${digest}"

    def matches(self, password: str) -> bool:
        """Whether that is the password; takes as long if it is not."""
        return hmac.compare_digest(self.digest, _digest(password, *self[:4]))


#: Said of what cannot be read.
WRONG = (
    "it looks like a hash, but not like one that `ingest console hash-password` prints: make a new one, and put "
    "it between single quotes, since a shell would take its dollar signs away"
)


def is_meant(text: str) -> bool:
    """Whether somebody means a hash by that, right or wrong, and not a password."""
    return _HASH_OF_SORTS.match(text) is not None


def plain_bytes(password: str) -> bytes:
    """A password as it is compared: keyboards make an é in more than one way."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _digest(password: str, cost: int, block: int, lanes: int, salt: bytes) -> bytes:
    memory = 2 * 128 * block * (cost + lanes)
    return hashlib.scrypt(
        plain_bytes(password), salt=salt, n=cost, r=block, p=lanes, maxmem=memory, dklen=DIGEST_SIZE
    )


def _bytes(text: str) -> bytes:
    if not text.isascii():
        raise ValueError(WRONG)
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
