"""What `ingest event` prints: the fields of one event, and its way."""

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ingest import shown
from ingest.cli import streams
from ingest.cli.render import console

if TYPE_CHECKING:
    from ingest.copernica.events import Event
    from workers.operations.event.finding import Found
    from workers.operations.event.report import Report
    from workers.operations.event.way import Step, Way

#: Characters of a value that are shown; --json has the whole.
SHOWN = 500
#: Values of a list that are shown.
MOST_VALUES = 50

_MARKS = {"done": "+", "failed": "x", "under-way": "."}
_CAUSES = {
    "no-endpoint": "no endpoint took calls",
    "answered-503": "calls were answered 503",
    "spool-damaged": "calls in the spool were lost",
    "store-older": "the database was older than it had been",
    "redis-older": "Redis lacked what it had had",
    "unreachable": "Copernica could not reach the endpoint",
}
_NOT_THERE = {
    "quarantine": "It is in quarantine: {reason}",
    "unverified": "It waits until the key {reason} is known.",
    "dead-letter": "Its event is gone; dead letters of it are kept for {handlers} (`ingest failed show {id}`).",
    "expired": "It is older than events are kept.",
    "perhaps-erased": "Nothing is known of it; people were erased since, and it may have been about one of them.",
    "perhaps-under-way": "It is not in the store. If it came in just now, it may be on its way there.",
    "upgraded": "It came late; its event is {other}.",
    "nowhere": "Nothing is known of it.",
}

_Moment = Callable[[int], str]


def event(known: "Report", zone: ZoneInfo) -> None:
    """One event, or why there is none."""

    def at(micros: int) -> str:
        return console.local(micros, zone)

    found = known.found
    with streams.reader_may_leave():
        if found.event is None or known.way is None:
            sys.stdout.write(f"There is no event {found.delivery_id.hex()}. {_why_not(found)}\n")
            return
        sys.stdout.write(f"{found.event.type} {found.delivery_id.hex()}\n\n")
        for line in _fields(found.event, at):
            sys.stdout.write(line + "\n")
        sys.stdout.write(f"\nits way, in {zone.key}\n")
        for line in _way(known.way, at):
            sys.stdout.write(line + "\n")


def _why_not(found: "Found") -> str:
    values = {
        "reason": console.printable(found.reason)[:SHOWN],
        "handlers": ", ".join(map(console.printable, found.handlers)),
        "id": found.delivery_id.hex(),
        "other": found.other.hex() if found.other else "",
    }
    return _NOT_THERE[found.where.value].format(**values)


def _fields(one: "Event", at: _Moment) -> Iterator[str]:
    fields = one.fields
    room = max((len(name) for name in fields if len(name) <= 20), default=0)
    for name, value in fields.items():
        told = f"  ({at(one.occurred_at)})" if name == "time" else ""
        yield f"  {_short(name):<{room}}  {_value(value)}{told}"
    yield f"  {'path':<{room}}  {_short(one.path)}"
    yield f"  {'source':<{room}}  {_short(one.source)}"


def _value(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        more = f", … {len(value) - MOST_VALUES:,} more" if len(value) > MOST_VALUES else ""
        return ", ".join(map(_short, value[:MOST_VALUES])) + more
    return _short(value if isinstance(value, str) else console.dump(value))


def _short(text: str) -> str:
    cut = f"… {len(text) - SHOWN:,} characters more" if len(text) > SHOWN else ""
    return console.printable(text[:SHOWN]) + cut


def _way(way: "Way", at: _Moment) -> Iterator[str]:
    unknown = " " * (len(at(0)))
    for step in way.steps:
        yield f"  {_MARKS[step.state.value]} {unknown if step.at is None else at(step.at)}  {_sentence(step, at)}"
        if step.error:
            yield f"    {unknown}  {_short(step.error)}"
        if step.traceback:
            yield from (f"    {unknown}  {console.printable(line)}" for line in step.traceback.split("\n") if line)
    if not way.is_complete:
        yield "  ! So much waits for handlers that not all of it was looked through."


def _sentence(step: "Step", at: _Moment) -> str:
    by = console.printable(step.by)[:200]
    texts: dict[str, Callable[[], str]] = {
        "occurred": lambda: "happened",
        "signed": lambda: "signed by Copernica",
        "missed": lambda: _missed(step, at),
        "recovered": lambda: {
            "logfile": "recovered from a log file",
            "rest": "recovered from Copernica's results",
        }.get(step.by, "recovered before its call came"),
        "received": lambda: "received" + (f" by {by}" if by else ""),
        "written": lambda: f"safe in Redis, in batch {step.batch} of {shown.counted(step.calls or 0, 'call')}",
        "stored": lambda: "stored" + (f" by {by}" if by else ""),
        "upgraded": lambda: f"its call came late: {step.call_id}",
        "again": lambda: f"came again, to {by}",
        "undecided": lambda: "waits to be handed on",
        "attempt": lambda: _attempt(step, by),
        "waits": lambda: f"{by} works on it" if step.word else f"waits for {by}{_due(step, at)}",
        "given-up": lambda: f"given up by {by} after {shown.counted(step.attempt or 0, 'attempt')}",
        "compared": lambda: f"compared with the log files of {step.by}, which is {step.word}",
    }
    return texts[step.what.value]()


def _missed(step: "Step", at: _Moment) -> str:
    until = "now" if step.until is None else at(step.until)
    return f"missed: {_CAUSES.get(step.word, step.word)} from {at(step.since or 0)} to {until}"


def _due(step: "Step", at: _Moment) -> str:
    after = f" after {shown.counted(step.attempt, 'attempt')}" if step.attempt else ""
    return after + (f", due {at(step.until)}" if step.until else "")


def _attempt(step: "Step", by: str) -> str:
    parts = [f"{by}: {step.word}", f"attempt {step.attempt}"]
    if step.seconds is not None:
        parts.append(shown.span(step.seconds) if step.seconds >= 1 else f"{step.seconds * 1000:.1f} ms")
    if step.status:
        parts.append(f"HTTP {step.status}")
    if step.calls and step.calls > 1:
        parts.append(f"with {shown.counted(step.calls - 1, 'other event')}")
    return ", ".join(parts)
