"""One look at whether something is wrong: told once it has lasted from one look to the next, and when it is over.

What was told is in Redis, where the next look finds it, whoever takes it. An alert that could not be delivered is
told by a later look, less and less often. What cannot be looked at is neither wrong nor over.
"""

import logging
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import redis

from ingest import redis_client, shown
from ingest.errors import Unavailable
from ingest.settings import Settings
from ingest.stream.lookouts import Lookouts
from workers.alerts import delivery, rising, silence
from workers.alerts.delivery import Message
from workers.alerts.memory import Memory, News, Seen
from workers.alerts.rising import Counted, Rise, Sample
from workers.operations.figures import RedisFigures, StatusFigures, StoreFigures
from workers.operations.status import gather
from workers.operations.warnings import Code, StatusWarning
from workers.store.store import Store

log = logging.getLogger(__name__)

#: Calls refused, and dead letters, within ten minutes from which on they may be too many.
REFUSALS_LEAST, DEAD_LETTERS_LEAST = 100.0, 10.0
#: Where it says what each code means and what to do.
RUNBOOK = "docs/runbook.md"
#: Seconds that the database may take: an alert that it hangs must still go out before the look is ended.
DATABASE_PATIENCE = 20.0

#: What is a matter of choice, passes by itself, or belongs to another alert.
UNTOLD = frozenset({Code.SIGNATURES_OFF, Code.NO_TABLES, Code.SPOOL_WAITING, Code.REDIS_UNREACHABLE})
#: What only the database knows: nobody knows it where that cannot be reached.
OF_STORE = frozenset(
    {
        Code.NO_HANDLERS_WORKER,
        Code.SILENCE,
        Code.QUARANTINED,
        Code.UNVERIFIED,
        Code.DAYS_INCOMPLETE,
        Code.DAYS_GONE,
        Code.GAPS_UNFILLED,
        Code.GAPS_LEFT,
        Code.DEAD_LETTERS,
        Code.DEAD_LETTERS_RISING,
    }
)


def look(settings: Settings, is_worker: bool) -> None:
    """Look, and tell what is new."""
    try:
        with redis_client.connect(settings.redis) as client:
            lookouts = Lookouts(client)
            memory = Memory.read(lookouts.remembered())
            figures = gather(settings, DATABASE_PATIENCE, for_people=False)
            now = time.time()
            found, unknown = _found(settings, figures, memory, now, is_worker)
            memory.update(found, unknown, now)
            lookouts.remember(memory.kept())
            if is_worker:
                lookouts.looked()
            for news in memory.news():
                memory.failed(news)  # noted first: a receiver may hold this process up until it is ended
                lookouts.remember(memory.kept())
                if _tell(settings, news, now):
                    memory.told(news)
                    lookouts.remember(memory.kept())
            lookouts.remember(memory.kept())
    except (redis.RedisError, Unavailable) as error:
        log.warning("a look for what may be wrong broke off: %s", error)


def _tell(settings: Settings, news: News, now: float) -> bool:
    """Deliver news; returns whether anybody has taken it."""
    known = {code.value: code for code in Code}
    if news.code not in known:  # of another release, which has told it
        return True
    warning = StatusWarning(known[news.code], news.trouble.text)
    failures = delivery.deliver(settings, message(warning, now, news.is_over, news.trouble.since))
    for failure in failures:
        log.warning("an alert could not be delivered: %s", failure, extra={"code": news.code})
    return len(failures) < len(delivery.channels(settings))


def redis_is_away(settings: Settings, is_over: bool) -> bool:
    """Tell that Redis does not serve this machine, or serves it again; an endpoint has found that out.

    Returns whether anybody has taken it.
    """
    text = "Redis serves again." if is_over else "Redis does not serve this endpoint: calls go to the spool."
    warning = StatusWarning(Code.REDIS_UNREACHABLE, text)
    failures = delivery.deliver(settings, message(warning, time.time(), is_over))
    for failure in failures:
        log.warning("that Redis %s could not be told: %s", "serves again" if is_over else "is away", failure)
    return len(failures) < len(delivery.channels(settings))


# --- what is wrong ---


def _found(
    settings: Settings, figures: StatusFigures, memory: Memory, now: float, is_worker: bool
) -> tuple[dict[str, Seen], frozenset[Code]]:
    """What is wrong, each with a sentence and what was usual; and what cannot be known."""
    found: dict[str, Seen] = {}
    for warning in figures.warnings:
        if warning.code not in UNTOLD:  # there may be several of a kind: disks
            before = f"{found[warning.code].text} " if warning.code in found else ""
            found[warning.code] = Seen(before + warning.text)
    unknown: frozenset[Code] = frozenset()
    if not is_worker:  # an endpoint need not reach the database
        found.pop(Code.DATABASE_UNREACHABLE, None)
        unknown |= {Code.DATABASE_UNREACHABLE}
    if figures.store is None or not figures.store.has_tables:
        unknown |= OF_STORE
    else:
        if text := _silence(settings, figures, now):
            found[Code.SILENCE] = Seen(text)
        if rise := _dead_letters(figures.store, memory, now):
            text = f"Handlers gave up {rise.now:,.0f} events within ten minutes, {_usually(rise)}."
            found[Code.DEAD_LETTERS_RISING] = Seen(text, rise.usual)
    if figures.redis is None:
        return {}, frozenset(Code)
    if rise := _refusals(figures.redis, memory, now):
        text = f"{rise.now:,.0f} calls were refused within ten minutes, {_usually(rise)}."
        found[Code.REFUSALS_RISING] = Seen(text, rise.usual)
    return found, unknown


def _silence(settings: Settings, figures: StatusFigures, now: float) -> str | None:
    last_at = figures.redis.last_call_at if figures.redis else None
    if last_at is None or (figures.spool and figures.spool.events):
        return None
    with Store.of(settings) as store:
        return silence.unusual(store, last_at, now)


def _refusals(figures: RedisFigures, memory: Memory, now: float) -> Rise | None:
    counted = Counted(memory.refusals[-1].total if memory.refusals else 0.0, memory.refused)
    counted.add({one.name: float(sum(one.report.refused.values())) for one in figures.endpoints})
    memory.refused = dict(counted.seen or {})
    memory.refusals = rising.kept(memory.refusals, Sample(now, counted.total))
    return rising.rise(memory.refusals, REFUSALS_LEAST, memory.usual(Code.REFUSALS_RISING))


def _dead_letters(figures: StoreFigures, memory: Memory, now: float) -> Rise | None:
    """What handlers gave up; letters that are retried or dropped make it no less."""
    failed = {name: float(handler.failed) for name, handler in figures.handlers.items()}
    total = memory.dead_letters[-1].total if memory.dead_letters else 0.0
    if memory.dead is not None:
        total += sum(max(0.0, number - memory.dead.get(name, 0.0)) for name, number in failed.items())
    memory.dead = failed
    memory.dead_letters = rising.kept(memory.dead_letters, Sample(now, total))
    return rising.rise(memory.dead_letters, DEAD_LETTERS_LEAST, memory.usual(Code.DEAD_LETTERS_RISING))


def _usually(rise: Rise) -> str:
    return f"where {rise.usual:,.0f} are usual"


def message(warning: StatusWarning, now: float, is_over: bool, since: float | None = None) -> Message:
    """An alert, or the news that it is over."""
    code, host = warning.code, socket.gethostname()
    sentence = shown.escaped(shown.without_secrets(warning.text))
    lasted = "" if since is None else f" It lasted {shown.span(now - since)}."
    if is_over:
        subject, said = f"Over: {code}", f"Over: {code}. It was: {sentence}{lasted}"
        lines: Sequence[str] = (said,)
    else:
        subject = f"{code.level.capitalize()}: {code}"
        lines = sentence, f"What to do: {code.remedy}", f"More: {RUNBOOK}#{code}"
        said = f"{subject}: {' '.join(lines)}"
    fields: dict[str, object] = {
        "text": said,  # what chats show
        "state": "over" if is_over else "begun",
        "code": code.value,
        "level": code.level.value,
        "sentence": sentence,
        "remedy": code.remedy,
        "runbook": f"{RUNBOOK}#{code}",
        "since": _iso(since if since is not None else now),
        "at": _iso(now),
        "host": host,
    }
    text = "\n\n".join([*lines, f"Seen on {host} at {_iso(now)}."])
    return Message(f"[ingest] {subject}", text, fields)


def trial() -> Message:
    """An alert that is none."""
    said = "This is a test of the alerts of the Copernica webhook ingester: nothing is wrong."
    at, host = _iso(time.time()), socket.gethostname()
    fields: dict[str, object] = {"text": said, "state": "test", "at": at, "host": host}
    return Message("[ingest] Test", f"{said}\n\nSent from {host} at {at}.", fields)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
