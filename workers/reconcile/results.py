"""Results over REST as lines that `workers.reconcile.recovery` compares and recovers, like those of log files.

    with Results(EventType.CLICK, zone) as results:
        results.add([Told("ms", 4711, "2026-11-20 09:12:44", {"id": …, "ip": …}), …])  # as often as need be
        report = Recovery(store, RecoveryOptions(hand_on=…), watch, …).results(results, period)

One `Recovery` for all kinds of a period, the largest first: kinds with too few events use the clocks that were
measured on another. `fields` are those that a webhook would have brought, under a webhook's names (`id`,
`recipient`, `ip`, `original`, `useragent`, `profile`, `mailing`, `code`, …; None and an empty text count as
absent); whatever else there is, under Copernica's own names, goes into the payload. A result without a message id
cannot be compared: it is damage, and counts as `unmatched`. All is on disk meanwhile, in a file without a name.

Copernica's id of a result is unique within its product and kind, and the event's delivery id is made of it: so a
second run, whatever it fetches again, stores nothing twice, and a result that is given twice counts once.
"""

import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, tzinfo
from hashlib import blake2b
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple, Self, TypeVar

import orjson

from ingest.copernica.events import REST, WIRE_NAMES, Event, EventType, event_of
from ingest.copernica.links import PLACEHOLDER
from ingest.copernica.logfiles.reader import NO_ID, Portion, clock
from ingest.copernica.logfiles.rows import Damage

T = TypeVar("T")

#: The field of the payload that says which result an event was made from: `ms 4711`.
RESULT = "result"
#: Results that are handled at once.
STEP = 2000


class Told(NamedTuple):
    """One result: `number` is Copernica's `ID`, and `timestamp` as it is written there."""

    product: str
    number: int
    timestamp: str
    fields: Mapping[str, Any]


class Results:
    """The results of one kind, in the order in which they were added."""

    def __init__(self, kind: EventType, zone: tzinfo = UTC) -> None:
        """`zone` is that of their times."""
        self.kind = kind
        self._second_of = clock(zone)
        self._received_at = time.time_ns() // 1000
        self._seen: set[int] = set()
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, results: Iterable[Told]) -> None:
        """Keep some more; one that is there already counts once."""
        for one in results:
            name = int.from_bytes(digest_of(one.product, self.kind, one.number), "big")
            if name not in self._seen:
                self._seen.add(name)
                line = orjson.dumps((one.product, one.number, one.timestamp, dict(one.fields)))
                self._file.write(line + b"\n")

    # --- what `recovery` asks for, as of `Reading` ---

    def lines(self) -> Iterator[Portion | tuple[str, Damage]]:
        """What each says, or what is wrong with one; numbered from 0 in this order."""
        for some in _batched(self._each()):
            said: list[tuple[Any, ...]] = []
            for number, one in some:
                second = self._second_of(one.timestamp)
                texts = [_text(one.fields.get(name)) for name in ("id", "recipient", "ip", "original")]
                if second is None or not texts[0]:
                    if said:
                        yield Portion._make(zip(*said, strict=True))
                        said = []
                    reason = f"{one.timestamp!r:.30} is no time" if texts[0] else "its message is not known"
                    yield f"result {one.number} of {one.product}", Damage(number, reason)
                    continue
                if PLACEHOLDER in texts[3]:  # nobody's own link, so it tells nothing from anything
                    texts[3] = ""
                digest = digest_of(one.product, self.kind, one.number)
                said.append((number, second, *texts, digest.hex(), 0, 0))
            if said:
                yield Portion._make(zip(*said, strict=True))

    def digests(self, _kind: str, said: Portion) -> Iterable[bytes]:
        """What names each of them."""
        return map(bytes.fromhex, said.link_ids)

    def again(self, wanted: "array[int]") -> Iterator[Event]:
        """The events of those whose numbers have something other than 0 in `wanted`."""
        for number, one in self._each():
            if wanted[number]:
                second = self._second_of(one.timestamp)
                fields = {
                    name: value if isinstance(value, list | dict) else str(value)
                    for name, value in one.fields.items()
                    if value is not None and value != ""
                }
                fields |= {
                    "type": WIRE_NAMES[self.kind],
                    "time": str(second),
                    RESULT: f"{one.product} {one.number}",
                }
                yield event_of(fields, "", self._received_at, NO_ID, REST)

    def name_of(self, event: Event) -> bytes:
        """What names an event of `again`."""
        product, _, number = event.payload[RESULT].partition(" ")
        return digest_of(product, event.type, int(number))

    def _each(self) -> Iterator[tuple[int, Told]]:
        self._file.flush()
        self._file.seek(0)
        for number, line in enumerate(self._file):
            yield number, Told._make(orjson.loads(line))


def _batched(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, STEP)):
        yield some


def digest_of(product: str, kind: str, number: int) -> bytes:
    """8 bytes that name a result: the same in every process and in every release."""
    return blake2b(f"result\x1f{product}\x1f{kind}\x1f{number}".encode(), digest_size=8).digest()


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, list | dict) else str(value)
