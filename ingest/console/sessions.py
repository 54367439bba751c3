"""Sessions: what a browser's cookie says, signed, so that nothing has to be remembered of those who come by.

Who has not signed in has one, too: it holds their language, and ties the forms of their pages to their browser.
Signing in makes a new one, so nobody can have somebody else use a session that they know. The key of those who
have signed in is made with the password: another password ends all of them. One that was ended by hand is
remembered until it would have ended by itself (`ending`).
"""

import base64
import binascii
import hmac
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

#: Seconds after which a session is over that nobody uses, and after which one is over in any case.
IDLE, ABSOLUTE = 8 * 3600, 7 * 24 * 3600
#: Seconds after which it is noted in the cookie that somebody is still there.
NOTED = 300
#: Seconds by which a time may lie ahead: clocks are set.
AHEAD = 60
#: Characters of a cookie that are looked at: ours have fewer.
LONGEST = 200

_FORMAT = struct.Struct(">B16sBII2s")
_VERSION = 1
_ID_SIZE = 16


class Role(IntEnum):
    """By which password somebody has signed in."""

    NOBODY = 0
    READER = 1
    OPERATOR = 2


@dataclass(frozen=True, slots=True)
class Session:
    """What is known of a browser. Times are Unix seconds."""

    id: bytes
    role: Role
    began: int
    seen: int
    #: As chosen on a page; empty: what the browser asks for.
    language: str = ""

    @classmethod
    def new(cls, role: Role, now: float, language: str = "") -> "Session":
        """One that nobody knows yet."""
        return cls(secrets.token_bytes(_ID_SIZE), role, int(now), int(now), language)

    @property
    def until(self) -> int:
        """When it is over, if nobody uses it any more."""
        if self.role is Role.NOBODY:  # there is nothing to protect but the forms of an open page
            return self.seen + ABSOLUTE
        return min(self.seen + IDLE, self.began + ABSOLUTE)

    def is_over(self, now: float) -> bool:
        """Whether it does not count any more, or not yet."""
        return not (self.began - AHEAD <= now < self.until) or self.seen > now + AHEAD

    def used(self, now: float) -> "Session":
        """The same, used again just now."""
        return replace(self, seen=int(now)) if now - self.seen > NOTED else self


class Signer:
    """Makes cookies of sessions, and reads them."""

    def __init__(self, secret: bytes, passwords: Mapping[Role, str]) -> None:
        """`passwords` are as they are set, plain or hashed."""
        self._keys = {
            role: hmac.digest(secret, f"session {role:d} {password}".encode("utf-8", "surrogatepass"), "sha256")
            for role, password in {Role.NOBODY: "", **passwords}.items()
        }
        self._form_key = hmac.digest(secret, b"forms", "sha256")

    def cookie(self, session: Session) -> str:
        """A session as text for a cookie."""
        language = session.language.encode("ascii").ljust(2, b"\0")
        body = _FORMAT.pack(_VERSION, session.id, session.role, session.began, session.seen, language)
        mark = hmac.digest(self._keys[session.role], body, "sha256")
        return base64.urlsafe_b64encode(body + mark).decode().rstrip("=")

    def read(self, text: str, now: float) -> Session | None:
        """The session of a cookie; None if we did not make it, or it is over."""
        if len(text) > LONGEST or not text.isascii():
            return None
        try:
            whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            version, session_id, number, began, seen, language = _FORMAT.unpack(whole[: _FORMAT.size])
            role = Role(number)
        except (binascii.Error, struct.error, ValueError):
            return None
        mark = hmac.digest(self._keys.get(role, b"no such"), whole[: _FORMAT.size], "sha256")
        if role not in self._keys or version != _VERSION or not hmac.compare_digest(mark, whole[_FORMAT.size :]):
            return None
        session = Session(session_id, role, began, seen, language.rstrip(b"\0").decode("ascii", "replace"))
        return None if session.is_over(now) else session

    def csrf(self, session: Session, name: str) -> str:
        """What the forms of this session's pages bring, while it belongs to that person."""
        whose = session.id + name.encode("utf-8", "surrogatepass")
        return base64.urlsafe_b64encode(hmac.digest(self._form_key, whose, "sha256")[:24]).decode()
