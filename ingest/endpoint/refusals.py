"""Refused calls: a few of each reason are kept to be looked at, and the log tells of them now and then.

A flood of forgeries costs no more than a look at the clock for each: of one reason, a process keeps one every few
seconds. Of bodies nothing is kept: what strangers, or a customer's systems, send here may be anybody's data.
"""

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ingest.copernica.header_fields import HeaderFields
from ingest.endpoint.rare_warnings import RareWarnings
from ingest.errors import CallRejected
from ingest.shown import HIDDEN, SECRET_NAMES, without_secrets
from ingest.stream.refusals import Refusal

#: Seconds between two of one reason that are kept.
EVERY = 2.0
#: Refusals that wait to be told, while Redis is away.
MOST_WAITING = 200
#: Headers of one, and characters of a name, of a value, and of all together.
MOST_HEADERS, LONGEST_NAME, LONGEST_VALUE, MOST_CHARACTERS = 40, 60, 300, 1600
#: Characters of a path, and of the names of its parameters together.
LONGEST_PATH, LONGEST_QUERY = 200, 100

_SIGNATURE = re.compile(r"""(\bsignature\s*=\s*)("[^"]*"?|[^,\s]*)""", re.IGNORECASE)


class RefusalSample:
    """Those of one process that nobody was told of yet."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._warn = RareWarnings(log)
        self._clock = clock
        self._next: dict[str, float] = {}
        self._waiting: deque[Refusal] = deque(maxlen=MOST_WAITING)
        #: The one whose sender is not known yet.
        self._fresh: Refusal | None = None

    def rejected(
        self,
        why: CallRejected,
        number: int,
        target: bytes = b"",
        fields: HeaderFields | None = None,
    ) -> None:
        """A call was rejected, the so manieth of its reason; without `fields` it is only told of in the log."""
        named = f", it named {why.excerpt}" if why.excerpt else ""
        self._warn(why.reason, "rejected a call: %s%s; %d so far.", why.reason, named, number)
        if fields is not None:
            self.note(why.reason.value, "POST", target, fields.values.items(), why.excerpt)

    def note(
        self,
        reason: str,
        method: str,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        named: str = "",
        transport: asyncio.Transport | None = None,
    ) -> None:
        """Keep what may be shown of a refused request, unless one of this reason was kept just now."""
        self._fresh = None
        now = self._clock()
        if now < self._next.get(reason, 0.0):
            return
        self._next[reason] = now + EVERY
        at = time.time_ns() // 1000
        refusal = Refusal(reason, at, method[:20], shown_target(target), shown_headers(headers), named)
        self._waiting.append(refusal)
        self._fresh = refusal
        if transport is not None:
            self.came_from(transport)

    def came_from(self, transport: asyncio.Transport | None) -> None:
        """The last one, if it was kept, came over this connection."""
        refusal, self._fresh = self._fresh, None
        if refusal is not None and transport is not None:
            refusal.peer = _address(transport.get_extra_info("peername"))

    def take(self) -> list[Refusal]:
        """Those that nobody was told of yet; give them back if nobody can be told."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def give_back(self, refusals: Iterable[Refusal]) -> None:
        """These could not be told, and are told before later ones, as far as there is room."""
        self._waiting.extendleft(list(refusals)[::-1][: MOST_WAITING - len(self._waiting)])


def _address(peer: object) -> str:
    if isinstance(peer, tuple) and len(peer) >= 2:
        host, port = peer[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return ""


def shown_target(target: bytes) -> str:
    """A path, and of its parameters the names: a value may be a secret that only the callback's URL holds.

    So may a parameter that is a word alone: whoever writes `?s3cret` means it to be one.
    """
    path, question, query = target.decode("latin-1").partition("?")
    names = "&".join(map(_name_of, filter(None, query[:LONGEST_QUERY].split("&"))))
    return _cut(path, LONGEST_PATH) + question + names


def _name_of(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}=…" if equals else "…"


def shown_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Headers with their secrets hidden, cut to what is of use."""
    return list(_shown(headers))


def _shown(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    left = MOST_CHARACTERS
    for number, (name_sent, sent) in enumerate(headers):
        name = _cut(name_sent[: LONGEST_NAME + 1].decode("latin-1"), LONGEST_NAME)
        value = _value(name.lower(), sent[: 2 * LONGEST_VALUE].decode("latin-1"))
        left -= len(name) + len(value)
        if left < 0 or number >= MOST_HEADERS:
            yield "…", ""
            return
        yield name, value


def _value(name: str, sent: str) -> str:
    if name == "signature":  # which key and which headers it covers is what one wants to know
        return _cut(_SIGNATURE.sub(rf'\1"{HIDDEN}"', sent), LONGEST_VALUE)
    if name == "cookie" or any(part in name for part in SECRET_NAMES):
        return HIDDEN
    return _cut(without_secrets(sent), LONGEST_VALUE)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
