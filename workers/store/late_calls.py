"""Which recovered events late calls are, of one type and message each: see docs/decisions/three-sources.md."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from ingest.copernica.addresses import canonical_ip, folded
from ingest.copernica.events import MICROS, Event
from ingest.copernica.links import PLACEHOLDER

#: Largest credible offset between two clocks, in seconds: what time zones can differ by.
MAX_OFFSET = 15 * 3600
#: Seconds between two offsets of time zones, and by how much differences of two clocks may vary for one cause:
#: rounding, and what lies between an event and its being written down.
ZONE_STEP, MAX_SPREAD = 900, 30
#: Seconds by which this machine's clock may be behind that of the calls.
CLOCK_SLACK = 900
#: Most calls and events of one message, multiplied, of which the best pairs are looked for. Beyond, only those are
#: pairs that say the same of second and recipient: reconciling sees to the rest.
THOROUGH = 40_000


class Known(NamedTuple):
    """A recovered event, its second by the webhooks' clock, and by how many seconds that may vary.

    `spread` is None if the offset of the clocks was not measured.
    """

    event: Event
    second: int
    spread: int | None


def pair(calls: Sequence[Event], recovered: Sequence[Known]) -> list[tuple[int, int]]:
    """Pairs of a call and its recovered event, by their places; as many as there can be.

    Of several events that a call can be, those go first whose address and link agree, and then the nearest.
    """
    if len(calls) * len(recovered) > THOROUGH:
        return _alike(calls, recovered)
    fitting = [_fitting(call, recovered) for call in calls]
    found: dict[int, int] = {}  # the call of each event

    def place(call: int, tried: set[int]) -> bool:
        """Find the event of a call, for which others may have to take another."""
        for _, event in fitting[call]:
            if event not in tried:
                tried.add(event)
                if event not in found or place(found[event], tried):
                    found[event] = call
                    return True
        return False

    # Those go first that are nearest to an event; no call that has one loses it to another.
    order = sorted((call for call, events in enumerate(fitting) if events), key=lambda call: fitting[call][0][0])
    for call in order:
        place(call, set())
    return sorted((call, event) for event, call in found.items())


def _alike(calls: Sequence[Event], recovered: Sequence[Known]) -> list[tuple[int, int]]:
    places = defaultdict(list)
    for at, known in enumerate(recovered):
        if known.spread is not None:
            places[known.second, _folded(known.event)].append(at)
    keys = ((at, places[call.occurred_at // MICROS, _folded(call)]) for at, call in enumerate(calls))
    return [(at, same.pop()) for at, same in keys if same]


def _fitting(call: Event, recovered: Sequence[Known]) -> list[tuple[tuple[bool, int], int]]:
    """The events that a call can be, by their distances and places, the nearest first."""
    return sorted((_distance(call, known), at) for at, known in enumerate(recovered) if fits(call, known))


def _distance(call: Event, known: Known) -> tuple[bool, int]:
    event = known.event
    links = call.url, None if event.url and PLACEHOLDER in event.url else event.url
    contradicts = not _agree(_ip(call), _ip(event)) or not _agree(*links)
    difference = abs(call.occurred_at // MICROS - known.second)
    return contradicts, difference if known.spread is not None else _off_zones(difference)


def fits(call: Event, known: Known) -> bool:
    """Whether a call can be that of a recovered event of its type and message."""
    event = known.event
    if not _agree(_folded(call), _folded(event)):
        return False
    if call.occurred_at == call.received_at:  # it does not tell when
        return True
    difference = abs(call.occurred_at // MICROS - known.second)
    if known.spread is not None:
        return difference <= known.spread
    return (
        difference <= MAX_OFFSET
        and _off_zones(difference) <= MAX_SPREAD
        and _agree(_ip(call), _ip(event))
        and call.occurred_at <= event.received_at + CLOCK_SLACK * MICROS
    )


def _off_zones(difference: int) -> int:
    """How far a difference of times, in seconds, is from what time zones can differ by."""
    return min(difference % ZONE_STEP, -difference % ZONE_STEP)


def _agree(one: str | None, other: str | None) -> bool:
    return not one or not other or one == other


def _ip(event: Event) -> str:
    return canonical_ip(event.ip) if event.ip else ""


def _folded(event: Event) -> str:
    return folded(event.recipient) if event.recipient else ""
