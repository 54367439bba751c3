"""What live processes say of themselves, for `ingest status`: each repeats its report as long as it lives."""

import time
from typing import Any, cast

import orjson
import redis

from ingest.stream.keys import Keys

#: Seconds without a new report after which a process counts as gone: five times as long as an endpoint takes.
REPORT_TTL = 15


class Heartbeats:
    """The reports of all processes; `name` is that of this one, and must be unique among those that report."""

    def __init__(self, client: redis.Redis, name: str = "nobody", partition: int = 0) -> None:
        self._client = client
        self._keys = Keys(partition)
        self._name = name

    def report(self, **report: object) -> None:
        """Say how this process is doing; replaces what it said before."""
        self._client.hset(self._keys.reports, self._name, orjson.dumps({"at": time.time(), **report}))

    def retract(self) -> None:
        """Remove what `report` left: this process ends."""
        self._client.hdel(self._keys.reports, self._name)

    def reports(self) -> dict[str, dict[str, Any]]:
        """The latest report of each live process, by name; deletes those of processes that have been silent."""
        answer = cast(dict[bytes, bytes], self._client.hgetall(self._keys.reports))
        reports = {name.decode(): cast(dict[str, Any], orjson.loads(text)) for name, text in answer.items()}
        gone = [name for name, report in reports.items() if time.time() - report["at"] > REPORT_TTL]
        if gone:
            self._client.hdel(self._keys.reports, *gone)
        return {name: report for name, report in reports.items() if name not in gone}
