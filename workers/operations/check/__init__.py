"""`ingest check`: the whole set-up, one finding for each thing that was checked, each found out by doing it."""

from collections.abc import Iterator

from ingest import unencrypted
from ingest.settings import Settings
from workers.operations.check import code, database, disk, redis_server, signatures, sinks
from workers.operations.check.findings import Finding, Level, risks

__all__ = ["Finding", "Level", "check"]


def check(settings: Settings, key_id: str | None = None) -> Iterator[Finding]:
    """Check everything, one thing after the other; raises nothing: what is wrong becomes a finding."""
    yield from signatures.check(settings, key_id)
    yield from redis_server.check(settings)
    yield from disk.check(settings)
    yield from database.check(settings)
    yield code.handlers(settings)
    yield from code.copernica(settings)
    yield from code.smtpeter(settings)
    yield from sinks.check(settings)
    yield from risks("encryption", unencrypted.readable(settings))
