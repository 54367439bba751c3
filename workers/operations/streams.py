"""The stream servers one by one: what each holds, how endpoints write to it, and those that are named no more."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple, cast

import redis

from ingest import health, partitions, redis_client
from ingest.errors import Unavailable
from ingest.jobs import JobScheduler
from ingest.redis_errors import described
from ingest.settings import Settings
from ingest.stream.consumer import Consumer
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.known_streams import KnownStream, KnownStreams, Standing, standing
from ingest.stream.owner import database_of
from ingest.stream.partitions import Partition, Partitions
from ingest.stream.reports import EndpointReport
from ingest.stream.trial import try_batch
from workers.operations.figures import StreamFigures

#: The states of a server: endpoints write to it, it is being drained by hand, it is not named and only drained, it
#: is another database's, it does not answer, or it was named once and is no more.
TAKES, CLOSED, ONLY_DRAINED, FOREIGN, AWAY, LEFT = "takes", "closed", "only-drained", "foreign", "away", "left"

#: Seconds that each may take to answer.
PATIENCE = 2.0


class Looked(NamedTuple):
    """All of them, and what those that answer have together."""

    streams: tuple[StreamFigures, ...]
    counts: Mapping[str, int]


def look(partitions: Partitions, client: redis.Redis | None, endpoints: Iterable[EndpointReport]) -> Looked:
    """Ask every one; `client` leads to where the queues are (None: they are away), `endpoints` report there.

    Raises:
        redis.RedisError: none answers, or that of the queues does not.
    """
    counts: Counter[str] = Counter()
    reports = list(endpoints)
    ours = None if client is None else database_of(client)

    def ask(partition: Partition) -> StreamFigures:
        figures, counted = _of(partition, reports)
        counts.update(counted)
        is_foreign = _is_foreign(partition, ours)
        return replace(figures, state=FOREIGN, error=health.FOREIGN) if is_foreign else figures

    found, error = partitions.looked_at(ask)
    if error is not None and not found:
        raise error
    streams = [found.get(one.name) or _away(one, partitions, reports) for one in partitions]
    named = {one.name for one in partitions}
    # One server alone has no name here, and what it remembers of others is told all the same.
    left = [_left(one) for one in KnownStreams(client).all() if is_left(one, named)] if client is not None else []
    return Looked((*streams, *left), counts)


def listed(settings: Settings) -> tuple[StreamFigures, ...]:
    """All of them, also where some are away, and be it that of the queues.

    Raises:
        Unavailable: none answers.
    """
    with (
        redis_client.connect(settings.redis, PATIENCE) as client,
        partitions.opened(settings, client, PATIENCE) as found,
    ):
        endpoints: Iterable[EndpointReport] = ()
        queues: redis.Redis | None = client
        try:
            endpoints = Heartbeats(client).reports().endpoints.values()
        except redis.RedisError:
            queues = None
        try:
            return look(found, queues, endpoints).streams
        except redis.RedisError as error:
            raise redis_client.unavailable(settings.redis, error) from None


def is_left(known: KnownStream, named: set[str]) -> bool:
    """Whether a server that is named no more may still have what was acknowledged."""
    return known.name not in named and not known.is_drained


def _is_foreign(partition: Partition, ours: bytes | None) -> bool:
    """Whether a server is another database's than that of the queues (`ours`)."""
    return len({ours, database_of(partition.client)} - {None}) > 1


def _of(partition: Partition, reports: Sequence[EndpointReport]) -> tuple[StreamFigures, Mapping[str, int]]:
    stream = Consumer(partition.client)
    memory = cast(Any, partition.client.info("memory"))
    counts = stream.counts()
    figures = StreamFigures(
        name=partition.name,
        state=CLOSED if stream.is_closed() else TAKES if partition.takes else ONLY_DRAINED,
        has_queues=partition.has_queues,
        backlog=stream.backlog(),
        batches=stream.batches(),
        pending_batches=stream.pending(),
        oldest_age_seconds=stream.oldest_age(),
        last_call_at=stream.last_written_at(),
        dead_batches=stream.dead_batches(),
        memory_bytes=int(memory.get("used_memory", 0)),
        memory_limit_bytes=int(memory.get("maxmemory", 0)) or None,
        endpoints=_endpoints(partition.name, reports),
    )
    return figures, counts


def _away(partition: Partition, partitions: Partitions, reports: Sequence[EndpointReport]) -> StreamFigures:
    error = partitions.away(partition.name)
    why = "it does not answer" if error is None else described(error)
    return StreamFigures(
        partition.name, AWAY, partition.has_queues, endpoints=_endpoints(partition.name, reports), error=why
    )


def _left(known: KnownStream) -> StreamFigures:
    return StreamFigures(known.name, LEFT, batches=known.batches, seen_at=known.seen_at)


def _endpoints(name: str, reports: Sequence[EndpointReport]) -> Mapping[str, int]:
    return dict(Counter(report.streams[name] for report in reports if name in report.streams))


# --- emptying one ---


class Emptying:
    """A server that is to be taken out: endpoints write nothing there any more, and workers drain it."""

    def __init__(self, partition: Partition, partitions: Partitions, queues: redis.Redis) -> None:
        """`queues` leads to where rq's queues are."""
        self._partition = partition
        self._partitions = partitions
        self._queues = queues

    def begin(self) -> None:
        """Close it: from now on it gets nothing.

        Raises:
            Unavailable: it does not answer, no other server would take the calls, or endpoints know no other.
        """
        name = self._partition.name
        alone = Unavailable(
            f"No other stream server takes calls, so {name} has to: name one and see that it runs."
        )
        with _told(self._partition):
            self._require_no_lone_endpoint()
            was_closed = Consumer(self._partition.client).is_closed()
            if not self._others_take():
                raise alone
            Consumer(self._partition.client).close(is_closed=True)
            # The other may be this one under another name, or may be closed by somebody else at this moment.
            if not was_closed and not self._others_take():
                Consumer(self._partition.client).close(is_closed=False)
                raise alone
        with suppress(redis.RedisError):  # what sweeps do, too
            JobScheduler(self._queues).wake_drain()

    def _others_take(self) -> bool:
        """Whether another server takes a batch now: not a replica, nor one that is full, closed or not ours."""
        ours = database_of(self._queues)

        def takes(one: Partition) -> bool:
            if one.name == self._partition.name or not one.takes or Consumer(one.client).is_closed():
                return False
            if _is_foreign(one, ours):
                return False
            try_batch(one.client)
            return True

        return any(self._partitions.looked_at(takes)[0].values())

    def _require_no_lone_endpoint(self) -> None:
        """Endpoints that know one server do not look whether it is closed: they would write there all the same."""
        if self._partition.has_queues and self._partition.takes:
            endpoints = Heartbeats(self._queues).reports().endpoints
            if lone := [name for name, report in endpoints.items() if not report.streams]:
                raise Unavailable(
                    f"{', '.join(lone)} would go on writing to {self._partition.name}: restart "
                    f"{'it' if len(lone) == 1 else 'them'} with INGEST_STREAM_URLS first."
                )

    def stand(self) -> Standing:
        """What is left on it; once that is nothing, it is remembered as drained.

        Raises:
            Unavailable: it does not answer.
        """
        with _told(self._partition):
            now = standing(self._partition)
        if now.is_drained:
            with suppress(redis.RedisError):  # endpoints note it, too
                KnownStreams(self._queues).note({self._partition.name: now})
        return now

    def dead_batches(self) -> int:
        """Damaged batches that go with it."""
        with _told(self._partition):
            return Consumer(self._partition.client).dead_batches()


def reopen(partition: Partition) -> None:
    """Have endpoints write to a server again.

    Raises:
        Unavailable: it does not answer.
    """
    with _told(partition):
        Consumer(partition.client).close(is_closed=False)


@contextmanager
def _told(partition: Partition) -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise Unavailable(
            f"The stream server {partition.name} does not serve us ({described(error)}): it can be drained when "
            "it is back."
        ) from None
