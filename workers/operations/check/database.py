"""The database: is it one to write to, does it take what workers store, and does it keep that?"""

import time
from collections.abc import Iterator

from ingest import disks
from ingest.errors import IngestError, OtherKey, SchemaMismatch, SchemaMissing
from ingest.health import RiskCode
from ingest.settings import Settings
from ingest.shown import counted
from workers.operations.check.clock import compared
from workers.operations.check.findings import Finding, ok, risk, risks, wrong
from workers.store import pseudonym_mark, trial
from workers.store.store import Store


def check(settings: Settings) -> Iterator[Finding]:
    """Open it, and do once what workers do."""
    try:
        with Store.of(settings) as store:
            yield from _store(store, settings)
    except IngestError as error:
        yield wrong("database", _code(error), str(error))
        return
    yield from _disk(settings)
    yield from _retention(settings)


def _retention(settings: Settings) -> Iterator[Finding]:
    sooner = ", ".join(f"{kind} after {counted(days, 'day')}" for kind, days in settings.retention_types)
    if settings.retention_days:
        text = f"events are deleted after {counted(settings.retention_days, 'day')}"
        yield ok("retention", f"{text}; {sooner}" if sooner else text)
    elif sooner:
        text = f"INGEST_RETENTION_DAYS is not set: all but some types ({sooner}) is kept forever"
        yield risk("retention", RiskCode.RETENTION_OFF, text)
    else:
        text = "INGEST_RETENTION_DAYS is not set: personal data is kept forever"
        yield risk("retention", RiskCode.RETENTION_OFF, text)


def _code(error: IngestError) -> RiskCode:
    if isinstance(error, SchemaMissing):
        return RiskCode.NO_TABLES
    return RiskCode.DATABASE_OTHER_RELEASE if isinstance(error, SchemaMismatch) else RiskCode.DATABASE_UNREACHABLE


def _store(store: Store, settings: Settings) -> Iterator[Finding]:
    yield ok("database", f"{store.shown} holds {counted(store.stored(), 'event')}")
    closed = store.closed()
    if closed is not None:
        yield wrong("database", closed.code, closed.text)
        return
    if "INGEST_PSEUDONYM_KEY" in settings.withheld:
        yield ok("pseudonyms", "what runs here has a key; set INGEST_PSEUDONYM_KEY in this shell too to check it")
    else:
        yield from _pseudonyms(store)
    for fault in trial.faults(store):
        yield wrong("database", fault.code, fault.text)
    yield from risks("database", store.weaknesses())
    before = time.time()
    if (theirs := store.time()) is not None:
        offset = theirs / 1e6 - (before + time.time()) / 2
        yield compared("the database", RiskCode.CLOCK_DATABASE, offset, settings.max_age)


def _pseudonyms(store: Store) -> Iterator[Finding]:
    """Whether people are stored under pseudonyms, and by the right key."""
    try:
        pseudonym_mark.following(mark := store.pseudonym_mark(), store.pseudonyms)
    except OtherKey as error:
        yield wrong("pseudonyms", RiskCode.PSEUDONYM_KEY, str(error))
        return
    known = store.pseudonyms
    if known is None:
        return
    parts, number = " and ".join(sorted(known.parts, reverse=True)), len(known.fingerprints)
    key = f"by the key {known.fingerprints[0]}" + (
        f", and {counted(number - 1, 'older one')}" if number > 1 else ""
    )
    if store.has_addresses():
        text = f"addresses from before are stored still beside pseudonyms ({parts}): ingest db pseudonymise"
        yield risk("pseudonyms", RiskCode.PSEUDONYMS_PARTIAL, text)
    else:
        yield ok("pseudonyms", f"{parts} {key}" + ("" if mark else "; nothing was stored with it yet"))


def _disk(settings: Settings) -> Iterator[Finding]:
    """Where SQLite's file lies."""
    file = settings.sqlite_file
    if file is None:
        return
    try:
        kind = disks.filesystem(disks.nearest(file))
    except OSError:
        return  # a file that cannot be seen could not be opened either
    if why := disks.EPHEMERAL.get(kind):
        yield risk("database", RiskCode.DATABASE_EPHEMERAL, f"the filesystem of {file} {why}")
    if disks.is_network(kind):
        text = (
            f"{file} is on a network filesystem ({kind}), where SQLite's write-ahead log does not work: put it "
            "on a local disk, or use PostgreSQL"
        )
        yield risk("database", RiskCode.DATABASE_NETWORK, text)
