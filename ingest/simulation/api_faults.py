"""Faults on demand, for the fake of Copernica's REST API: what goes wrong, with which request.

A plan is comma-separated and used up from left to right: `429*2,500,cut@download,ok,expired`. Each entry affects
one request, or as many as `*` says; `@` names the kind of request it waits for. `ok` lets a request pass.
"""

import random
from enum import StrEnum

from ingest.errors import SettingsError


class Fault(StrEnum):
    """What goes wrong with one request."""

    #: Nothing.
    OK = "ok"
    #: Refused although the access token is valid.
    UNAUTHORIZED = "401"
    #: All access tokens are revoked; when one is requested, it has expired already.
    EXPIRED = "expired"
    FORBIDDEN = "403"
    #: Too many requests; has a Retry-After.
    TOO_MANY = "429"
    BROKEN = "500"
    #: What its load balancer says: a page of HTML, with that status or, where a file or a list is meant, with 200.
    UNAVAILABLE = "503"
    GATEWAY = "504"
    HTML = "html"
    #: 200, and nothing.
    EMPTY = "empty"
    #: The connection is reset: in the middle of a download, or after a call was carried out and before its answer.
    CUT = "cut"
    #: The connection is closed properly, but something is missing.
    SHORT = "short"
    #: In the middle, nothing more arrives.
    SLOW = "slow"
    #: 301: to the same address, and to another host (`FakeCopernica.elsewhere`).
    MOVED = "moved"
    ELSEWHERE = "elsewhere"
    #: A page that says there is nothing, although there is.
    NO_ROWS = "no-rows"
    #: Since the page before, a row before this one was removed (so that one is skipped), or inserted (so that one
    #: comes twice).
    REMOVED = "removed"
    INSERTED = "inserted"
    #: A page whose `count` and `total` are wrong.
    LIES = "lies"
    #: All numbers come as strings, or none do.
    STRINGS = "strings"
    NUMBERS = "numbers"
    #: All values are null, or those that may be absent.
    NULL = "null"
    BLANK = "blank"


class Kind(StrEnum):
    """What a request is about."""

    TOKEN = "token"  # noqa: S105  # a kind of request
    LOGFILES = "logfiles"
    DOWNLOAD = "download"
    WEBHOOKS = "webhooks"
    IDENTITY = "identity"
    #: Lists of impressions, clicks and so on; of messages; one message; totals of a mailing; lists of mailings.
    RESULTS = "results"
    DESTINATIONS = "destinations"
    DESTINATION = "destination"
    STATISTICS = "statistics"
    EMAILINGS = "emailings"
    #: One profile or subprofile; lists of them, and new ones.
    PROFILE = "profile"
    PROFILES = "profiles"
    #: SMTPeter's lists of log files and the files, and its events.
    SMTPETER = "smtpeter"
    EVENTS = "events"


#: Faults that a client with retries gets over in less than a minute: what `rate` picks from.
PASSING = (
    *(Fault.EXPIRED, Fault.TOO_MANY, Fault.BROKEN, Fault.UNAVAILABLE, Fault.GATEWAY, Fault.HTML, Fault.EMPTY),
    *(Fault.CUT, Fault.SHORT),
)
#: Most requests that one entry of a plan may affect: enough for any test.
MAX_TIMES = 1_000_000


class Faults:
    """Decides which fault each request meets."""

    def __init__(self, plan: str = "", rate: float = 0.0, seed: int | None = None) -> None:
        """`rate` is the share of requests that fail at random, where the plan has nothing for them.

        Raises:
            SettingsError: the plan is not valid.
        """
        self._entries = [_Entry(text.strip().lower()) for text in plan.split(",") if text.strip()]
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311  # for repeatable faults, not for secrets

    def next(self, kind: Kind) -> Fault:
        """The fault for the request that has just arrived; it is used up."""
        for entry in self._entries:
            if entry.kind in (None, kind):
                entry.times -= 1
                if not entry.times:
                    self._entries.remove(entry)
                return entry.fault
        return self._random.choice(PASSING) if self._random.random() < self._rate else Fault.OK

    @property
    def left(self) -> int:
        """Requests that the plan will still affect."""
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
                f"{text!r} is not a fault: write 429, 500*3 or cut@download; "
                f"the faults are {', '.join(Fault)}; the kinds of requests are {', '.join(Kind)}."
            )
