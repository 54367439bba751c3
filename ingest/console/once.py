"""An action that is done once, however often its button is pressed: by a token that each form brings."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web

T = TypeVar("T")

#: Actions that are remembered: a second click comes within seconds.
REMEMBERED = 1000
_TOKEN = re.compile(r"[\w-]{20,60}", re.ASCII)


class Once:
    """What was done lately, by the tokens of the forms that asked for it."""

    def __init__(self) -> None:
        self._done: dict[str, asyncio.Future[Any]] = {}

    async def do(self, token: str, act: Callable[[], Awaitable[T]]) -> T | None:
        """Do something, and return what came of it; None if the same form asked for it before.

        What failed may be asked for again.
        """
        if (before := self._done.get(token)) is not None:
            await asyncio.wait([before])
            return None
        self._done[token] = doing = asyncio.ensure_future(act())
        try:
            return await asyncio.shield(doing)
        except Exception:
            self._done.pop(token, None)
            raise
        finally:
            while len(self._done) > REMEMBERED:
                self._done.pop(next(iter(self._done)))


ONCE = web.AppKey("once", Once)


def prepare(app: web.Application) -> None:
    """Have an application remember what was done."""
    if ONCE not in app:
        app[ONCE] = Once()


def token() -> str:
    """A token for a form."""
    return secrets.token_urlsafe(18)


def is_token(text: object) -> bool:
    """Whether this is one."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None
