"""Faults on demand, for the fake of Copernica's REST API: what goes wrong, with which request.

A plan is a comma list, used up from left to right: `429*2,500,cut@download,ok,expired`. Each entry spoils one
request, or as many as stand behind `*`; behind `@` stands which kind of request it waits for. `ok` lets one pass.
"""

import random
from enum import StrEnum

from ingest.errors import SettingsError


class Fault(StrEnum):
    """What goes wrong with one request."""

    #: Nothing.
    OK = "ok"
    #: Refused although the access token is good.
    UNAUTHORIZED = "401"
    #: The access token is taken back, so that a new one must be had; as answer to the exchange: one that is over.
    EXPIRED = "expired"
    FORBIDDEN = "403"
    #: Too many requests; comes with Retry-After.
    TOO_MANY = "429"
    BROKEN = "500"
    UNAVAILABLE = "503"
    #: The connection is reset: in the middle of a download, or after a call was carried out and before its answer.
    CUT = "cut"
    #: The connection is closed in order, and something is missing.
    SHORT = "short"
    #: In the middle, nothing more comes.
    SLOW = "slow"


class Kind(StrEnum):
    """What a request is about."""

    TOKEN = "token"  # noqa: S105  # a kind of request
    LOGFILES = "logfiles"
    DOWNLOAD = "download"
    WEBHOOKS = "webhooks"
    IDENTITY = "identity"


#: Faults that a patient client gets over, and that do not take a minute: what `rate` picks from.
PASSING = (Fault.EXPIRED, Fault.TOO_MANY, Fault.BROKEN, Fault.UNAVAILABLE, Fault.CUT, Fault.SHORT)
#: Requests that one entry of a plan may spoil.
MAX_TIMES = 1_000_000


class Faults:
    """Which fault each request meets."""

    def __init__(self, plan: str = "", rate: float = 0.0, seed: int | None = None) -> None:
        """`rate` is the share of requests spoilt at random, once the plan has nothing for them.

        Raises:
            SettingsError: the plan cannot be read.
        """
        self._entries = [_Entry(text.strip().lower()) for text in plan.split(",") if text.strip()]
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311  # for faults that come again, not for secrets

    def next(self, kind: Kind) -> Fault:
        """The fault of the request that has just come in; it is used up."""
        for entry in self._entries:
            if entry.kind in (None, kind):
                entry.times -= 1
                if not entry.times:
                    self._entries.remove(entry)
                return entry.fault
        return self._random.choice(PASSING) if self._random.random() < self._rate else Fault.OK

    @property
    def left(self) -> int:
        """Requests that the plan will still spoil."""
        return sum(entry.times for entry in self._entries)


class _Entry:
    """One entry of a plan."""

    def __init__(self, text: str) -> None:
        rest, _, kind = text.partition("@")
        fault, star, times = rest.partition("*")
        try:
            self.fault = Fault(fault)
            self.kind = Kind(kind) if kind else None
            self.times = int(times) if star else 1
        except ValueError:
            self.times = 0
        if not 1 <= self.times <= MAX_TIMES:
            raise SettingsError(
                f"{text!r} is no fault: write 429, 500*3 or cut@download; "
                f"there are {', '.join(Fault)} and the kinds {', '.join(Kind)}."
            )
