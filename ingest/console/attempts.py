"""How often somebody may try to sign in.

Each address has a few attempts, and then one every half a minute; an IPv6 address counts as its whole /64, which
is what one customer has. All addresses together have some, too, so that many cannot guess what one cannot. While
strangers use those up, whoever has signed in before from the same address still can, and so can whoever is on this
machine: they have the attempts of their own address. A password that was right gives its own attempt back, and no
other, so that who knows one password cannot guess the other with it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_network

from ingest.console.rules import Address

#: Attempts at once of an address, and seconds until it has one more.
EACH, EACH_EVERY = 5, 30.0
#: The same of all addresses together.
ALL, ALL_EVERY = 60, 2.0
#: Addresses that are remembered; of more, those who tried longest ago are forgotten.
MOST_ADDRESSES = 10_000
#: The same of those from which somebody has signed in.
MOST_KNOWN = 1000
#: Bits of an IPv6 address that one customer has.
CUSTOMER = 64


class Bucket:
    """Attempts that come back with time."""

    def __init__(self, most: int, every: float) -> None:
        self._most, self._every = most, every
        self._left, self._at = float(most), 0.0

    def wait(self, now: float) -> float:
        """Seconds until there is one; 0 if there is."""
        self._left = min(self._most, self._left + (now - self._at) / self._every)
        self._at = now
        return 0.0 if self._left >= 1 else (1 - self._left) * self._every

    def take(self, number: int = 1) -> None:
        """Use one up; -1 gives it back."""
        self._left -= number


class Attempts:
    """Those of everybody. Times are of a clock that never goes back, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all = Bucket(ALL, ALL_EVERY)
        self._each: OrderedDict[str, Bucket] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    def wait(self, client: Address) -> float:
        """Seconds after which this address may try; 0: now, and that is counted."""
        now, name = self._clock(), _customer(client)
        bucket = self._each.pop(name, None) or Bucket(EACH, EACH_EVERY)
        self._each[name] = bucket
        if len(self._each) > MOST_ADDRESSES:
            self._each.popitem(last=False)
        buckets = [bucket] if client.is_loopback or name in self._known else [bucket, self._all]
        if (wait := max(one.wait(now) for one in buckets)) > 0:
            return wait
        for one in buckets:
            one.take()
        return 0.0

    def succeeded(self, client: Address) -> None:
        """The password was right: this attempt does not count, and the address is known from now on."""
        name = _customer(client)
        if bucket := self._each.get(name):
            bucket.take(-1)
        if name not in self._known and not client.is_loopback:
            self._all.take(-1)
        self._known[name] = None
        self._known.move_to_end(name)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)


def _customer(client: Address) -> str:
    if isinstance(client, IPv6Address):
        return str(ip_network((client.packed, CUSTOMER), strict=False))
    return str(client)
