"""Keys by which sweeps see that there is nothing to do: all of a round are asked for in one question.

Each of them says that something was done a while ago, or that something waits. Nearly always nothing has changed
since the round before, and then a round costs Redis and us one answer, not one for each key.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import redis


class Glance:
    """What one process knows of them, within a round."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        #: Whether they are there, as this round began; empty out of rounds.
        self._known: dict[str, bool] = {}
        #: Those of the last round.
        self._asked: set[str] = set()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """In this block, what was asked in the last such block is answered by how it was at its beginning.

        What Redis refuses to say then is asked when it comes to that.

        Raises:
            redis.RedisError: it does not answer.
        """
        keys, self._asked = tuple(self._asked), set()
        with self._client.pipeline(transaction=False) as questions:
            for key in keys:
                questions.exists(key)
            answers = questions.execute(raise_on_error=False)
        self._known = {key: bool(said) for key, said in zip(keys, answers, strict=True) if isinstance(said, int)}
        try:
            yield
        finally:
            self._known = {}

    def exists(self, key: str) -> bool:
        """Whether a key is there."""
        self._asked.add(key)
        known = self._known.get(key)
        return bool(self._client.exists(key)) if known is None else known

    def once(self, key: str, seconds: int) -> bool:
        """Put a key there for so many seconds, unless it is there already; whether it was not."""
        self._asked.add(key)
        return not self._known.get(key) and bool(self._client.set(key, 1, nx=True, ex=seconds))
