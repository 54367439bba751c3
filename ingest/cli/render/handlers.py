"""What `ingest handlers` and `ingest failed waiting` print."""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ingest.cli.render import console
from ingest.cli.render.console import Column
from ingest.shown import counted, span
from ingest.stream.pauses import HANDLER, QUEUE

if TYPE_CHECKING:
    from ingest.stream.pauses import Pause
    from workers.handlers.listing import Described
    from workers.handlers.overview import Overview
    from workers.handlers.standing import Standing
    from workers.handlers.waiting import Retries

#: Columns of `failed waiting` behind the time of the next attempt, as many as fit.
COLUMNS = (
    Column("handler", 10, 14),
    Column("calls", 7, 7),
    Column("tried", 5, 5),
    Column("last error", 16, 1000),
)
#: How far what is said of a handler stands from the margin.
INDENT = "  "


def retries(found: "Sequence[Retries]", zone: ZoneInfo, as_json: bool) -> None:
    """`ingest failed waiting`."""
    if as_json:
        for one in found:
            sys.stdout.write(console.dump(one._asdict() | {"next_at": console.moment(one.next_at)}) + "\n")
        return
    if not found:
        sys.stdout.write("Nothing that failed waits to be tried again.\n")
        return
    time, room = f"next {zone.key}", console.time_width(zone)
    widths = console.fitted([Column(time, room, room), *COLUMNS], console.width(), first="last error")
    sys.stdout.write(console.line({name: name for name in widths}, widths))
    for one in found:
        row = {
            time: "overdue" if one.overdue else console.local(one.next_at, zone),
            "handler": one.handler,
            "calls": f"{one.calls:>7,}",
            "tried": one.attempts,
            "last error": one.error or "not known",
        }
        sys.stdout.write(console.line(row, widths))
    if any(one.overdue for one in found):
        sys.stdout.write(
            "What is overdue waits for a worker, or its handler is paused or gone: `ingest handlers`\n"
            "and `ingest status` say which; `ingest handlers drop NAME` drops what a gone one left.\n"
        )


def handlers(found: "Overview", as_json: bool) -> None:
    """`ingest handlers`: a paragraph for each."""
    if as_json:
        console.print_json(_as_json(found))
        return
    for handler in found.handlers:
        _say(handler.name)
        for text in _about(handler, found):
            _say(text, INDENT)
    if not found.handlers and not found.problems:
        _say("There are no handlers: name modules of yours in INGEST_HANDLERS, or scripts in INGEST_FORWARD_URL.")
    for name in found.gone:
        kept = _amounts(found, name)
        _say(f"! There is no handler {name} any more, but {kept}: `ingest handlers drop {name}` drops that.")
    if unassigned := found.waiting.get("", 0):
        _say(f"{counted(unassigned, 'call is', 'calls are')} not handed on yet.")
    if found.pauses is None:
        _say("! Redis does not answer, so it is not known what is paused.")
    for problem in found.problems:
        _say(f"! {problem}")


def _say(text: str, indent: str = "") -> None:
    """Text in lines that fit; words are never cut."""
    lines = textwrap.wrap(
        console.printable(text),
        console.width(),
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    sys.stdout.write("\n".join(lines) + "\n")


def _about(handler: "Described", found: "Overview") -> Iterator[str]:
    """What there is to know of one, a line or two each."""
    types = ", ".join(handler.types) if handler.types else "all types"
    where = ", those that its `where` lets through" if handler.has_where else ""
    yield f"{handler.function}: {types}{where}"
    yield ", ".join(_options(handler))
    queue = f"queue {found.queue}: {_amounts(found, handler.name)}"
    pauses = [pause for pause in found.pauses or () if pause.name in (HANDLER + handler.name, QUEUE + found.queue)]
    yield f"{queue}; {paused(pauses[0])}" if pauses else queue
    if standing := found.standings.get(handler.name):
        yield from _fares(standing)


def _fares(standing: "Standing") -> Iterator[str]:
    """How fast it is, and what comes next of what it failed with."""
    speed = standing.speed
    if speed.p50 is not None and speed.p99 is not None:
        took = (
            f"half of the last {speed.measured:,} calls took at most {_took(speed.p50)}, 99 % {_took(speed.p99)}"
        )
        failed = f", {speed.failed_per_second:.3g} of them failed" if speed.failed_per_second else ""
        yield f"{took}; {speed.per_second:.3g} events/s in the last minute{failed}"
    for again in standing.retries[:1]:
        calls = counted(sum(one.calls for one in standing.retries), "call")
        at = console.local(again.next_at, ZoneInfo("UTC"))
        when = f"overdue since {at}" if again.overdue else f"the first at {at}"
        yield f"{calls} to be tried again, {when}, after: {again.error or 'not known'}"


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else span(seconds)


def paused(pause: "Pause", zone: ZoneInfo | None = None) -> str:
    """That something is paused, and until when."""
    if pause.until is None:
        return "paused until it is resumed"
    return f"paused until {console.local(pause.until, zone or ZoneInfo('UTC'))}"


def _options(handler: "Described") -> Iterator[str]:
    if handler.batch is not None:
        yield f"batches of {handler.batch:,}"
    yield f"{handler.timeout:g} s per call"
    if handler.retries:
        backoff = ", ".join(f"{seconds:g}" for seconds in handler.backoff[: handler.retries])
        yield f"{counted(handler.retries, 'retry', 'retries')} (after {backoff} s)"
    else:
        yield "no retries"
    if handler.rate is not None:
        yield f"at most {handler.rate:g} calls/s"
    if handler.concurrency is not None:
        yield f"{handler.concurrency} at once"
    if handler.is_async:
        yield "async"


def _amounts(found: "Overview", name: str) -> str:
    waiting, failed = found.waiting.get(name, 0), found.failed.get(name, 0)
    return f"{counted(waiting, 'call waits', 'calls wait')}, {counted(failed, 'dead letter')}"


def _as_json(found: "Overview") -> dict[str, object]:
    return {
        "handlers": [
            asdict(handler)
            | {
                "queue": found.queue,
                "waiting": found.waiting.get(handler.name, 0),
                "failed": found.failed.get(handler.name, 0),
                **_as_figures(found.standings.get(handler.name)),
            }
            for handler in found.handlers
        ],
        "gone": [
            {"name": name, "waiting": found.waiting.get(name, 0), "failed": found.failed.get(name, 0)}
            for name in found.gone
        ],
        "paused": None
        if found.pauses is None
        else [
            {"name": pause.name, "until": pause.until and console.moment(pause.until)} for pause in found.pauses
        ],
        "problems": found.problems,
    }


def _as_figures(standing: "Standing | None") -> dict[str, object]:
    """How a handler fares, in seconds and per second; nothing is known of one that was not called."""
    return {
        "per_second": standing.speed.per_second if standing else 0.0,
        "failed_per_second": standing.speed.failed_per_second if standing else 0.0,
        "p50": standing.speed.p50 if standing else None,
        "p99": standing.speed.p99 if standing else None,
        "retries": [
            {"next_at": console.moment(one.next_at), "calls": one.calls, "tried": one.attempts, "error": one.error}
            for one in (standing.retries if standing else ())
        ],
    }
