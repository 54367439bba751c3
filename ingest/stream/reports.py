"""What a process reports of itself, for `ingest status`: typed here, JSON in Redis.

The names in the JSON are those of release 0.1.0. A release may add names, but not change the meaning of one: while
an installation is upgraded, processes and commands of two releases read each other's reports.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

#: How the names of processes begin, by what they report.
ENDPOINT, DRAIN = "web:", "drain:"


def process_name(kind: str) -> str:
    """A name for this process that says what it is (`ENDPOINT` or `DRAIN`) and where it runs."""
    return f"{kind}{socket.gethostname()}:{os.getpid()}"


def host_of(name: str) -> str:
    """The machine that a process of this name runs on."""
    return name.split(":")[1]


@dataclass(frozen=True, slots=True)
class SpoolReport:
    """What an endpoint process has in its spool."""

    events: int
    size_bytes: int
    #: None when nothing waits.
    oldest_age_seconds: float | None
    #: Files in the folder that hold what could not be read, whoever wrote it.
    bad_records: int
    #: Of the disk that the folder is on; 0 if that cannot be seen.
    disk_free_bytes: int = 0
    disk_size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EndpointReport:
    """What an endpoint process has done since it started."""

    #: INGEST_VERIFY: `on` or `off`.
    verify: str
    #: Calls that were acknowledged, and those of them that were kept before their signature could be verified.
    accepted: int
    unverified: int
    #: Calls that were rejected, by reason.
    refused: Mapping[str, int]
    #: Calls that could not be kept.
    failed: int
    #: Over the last few seconds.
    accepted_per_second: float
    #: Whether calls are written to Redis: a `breaker.State`.
    breaker: str
    #: None without a spool.
    spool: SpoolReport | None = None
    #: Unix times of the first and the last call that could not be kept, in seconds; None if there was none.
    first_failed_at: float | None = None
    last_failed_at: float | None = None
    #: Unix time of the report in seconds; set when it is made.
    reported_at: float = 0.0
    #: Calls of the last minute by how long they waited for their 200, in the buckets of
    #: `ingest.metrics.histogram`; empty where that is not known.
    acknowledged: tuple[int, ...] = ()
    #: Of several stream servers, by name, whether calls are written there: a `breaker.State`, `full` or `drained`.
    streams: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """As it is kept in Redis."""
        report: dict[str, object] = {
            "verify": self.verify,
            "accepted": self.accepted,
            "unverified": self.unverified,
            "refused": dict(self.refused),
            "failed": self.failed,
            "rate": self.accepted_per_second,
            "breaker": self.breaker,
            "failed_first": self.first_failed_at,
            "failed_last": self.last_failed_at,
            "acknowledged": self.acknowledged,
        }
        if self.streams:
            report["streams"] = dict(self.streams)
        if self.spool is not None:
            report |= {
                "spooled": self.spool.events,
                "spool_bytes": self.spool.size_bytes,
                "spool_oldest": self.spool.oldest_age_seconds,
                "spool_bad": self.spool.bad_records,
                "disk_free": self.spool.disk_free_bytes,
                "disk_size": self.spool.disk_size_bytes,
            }
        return report

    @classmethod
    def from_json(cls, report: Mapping[str, Any]) -> Self:
        """Read what `as_json` of this or another release made: ignores unknown names, fills in missing ones.

        While an installation is upgraded, `status` thus counts every endpoint, old and new. Without `verify` the
        signatures count as checked: a warning about them must have a ground.
        """
        spool = None
        if "spooled" in report:
            spool = SpoolReport(
                events=report["spooled"],
                size_bytes=report.get("spool_bytes", 0),
                oldest_age_seconds=report.get("spool_oldest"),
                bad_records=report.get("spool_bad", 0),
                disk_free_bytes=report.get("disk_free", 0),
                disk_size_bytes=report.get("disk_size", 0),
            )
        return cls(
            verify=report.get("verify", "on"),
            accepted=report.get("accepted", 0),
            unverified=report.get("unverified", 0),
            refused=report.get("refused", {}),
            failed=report.get("failed", 0),
            accepted_per_second=report.get("rate", 0.0),
            breaker=report.get("breaker", "closed"),
            spool=spool,
            first_failed_at=report.get("failed_first"),
            last_failed_at=report.get("failed_last"),
            acknowledged=tuple(report.get("acknowledged", ())),
            streams=report.get("streams", {}),
            reported_at=report["at"],
        )


@dataclass(frozen=True, slots=True)
class DrainReport:
    """How a running drain is doing."""

    #: Over the last second or so.
    drained_per_second: float
    #: Unix time of the report in seconds; set when it is made.
    reported_at: float = 0.0

    def as_json(self) -> dict[str, object]:
        """As it is kept in Redis."""
        return {"rate": self.drained_per_second}

    @classmethod
    def from_json(cls, report: Mapping[str, Any]) -> Self:
        """Read what `as_json` of this or another release made, as `EndpointReport.from_json` does."""
        return cls(drained_per_second=report.get("rate", 0.0), reported_at=report["at"])
