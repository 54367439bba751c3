"""What live processes say of themselves, for `ingest status`: each repeats its report as long as it lives."""

from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import redis

from ingest.stream.clock import redis_time
from ingest.stream.keys import Keys
from ingest.stream.reports import DRAIN, ENDPOINT, DrainReport, EndpointReport

#: Seconds without a new report after which a process counts as gone: five times as long as an endpoint takes.
REPORT_TTL = 15


@dataclass(frozen=True, slots=True)
class Reports:
    """The latest report of each live process, by the name of the process."""

    endpoints: dict[str, EndpointReport] = field(default_factory=dict)
    drains: dict[str, DrainReport] = field(default_factory=dict)


class Heartbeats:
    """The reports of all processes.

    `name` is that of this one, and must be unique among those that report; who only reads them has none.
    """

    def __init__(self, client: redis.Redis, name: str | None = None, partition: int = 0) -> None:
        self._client = client
        self._keys = Keys(partition)
        self._name_if_any = name

    @property
    def _name(self) -> str:
        if self._name_if_any is None:
            raise RuntimeError("a process without a name cannot report")
        return self._name_if_any

    def report(self, report: EndpointReport | DrainReport) -> None:
        """Say how this process is doing; replaces what it said before."""
        self._client.hset(self._keys.reports, self._name, orjson.dumps({"at": self._now(), **report.as_json()}))

    def _now(self) -> float:
        """Unix time by the server's clock: a process whose own is wrong lives all the same."""
        return redis_time(self._client) / 1e6

    def retract(self) -> None:
        """Remove what `report` left: this process ends."""
        self._client.hdel(self._keys.reports, self._name)

    def reports(self) -> Reports:
        """The reports of all live processes; deletes those of processes that have been silent."""
        answer = cast(dict[bytes, bytes], self._client.hgetall(self._keys.reports))
        reports = {name.decode(): cast(dict[str, Any], orjson.loads(text)) for name, text in answer.items()}
        now = self._now()
        silent = [name for name, report in reports.items() if now - report["at"] > REPORT_TTL]
        if silent:
            self._client.hdel(self._keys.reports, *silent)
        live = Reports()
        for name, report in sorted(reports.items()):
            if name in silent:
                continue
            if name.startswith(ENDPOINT):
                live.endpoints[name] = EndpointReport.from_json(report)
            elif name.startswith(DRAIN):
                live.drains[name] = DrainReport.from_json(report)
        return live
