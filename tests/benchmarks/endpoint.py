"""How fast calls are taken, what each costs in processor time and in Redis memory, and how long a sender waits."""

from collections.abc import Callable
from dataclasses import dataclass

from ingest.stream.keys import Keys
from tests.benchmarks import load
from tests.benchmarks.load import Sent
from tests.benchmarks.plan import Plan, Step
from tests.benchmarks.report import Goal, Row, Spread
from tests.benchmarks.servers import BARE, JOBS, OURS, Store, cpu_seconds, endpoint, redis_server, scratch


@dataclass(frozen=True, slots=True)
class Sample:
    """What one contender did in one round; processor time in µs and memory in bytes, per accepted event."""

    sent: Sent
    server_cpu: float
    redis_cpu: float
    memory: float
    #: Of our stream alone, as Redis counts it; 0 for the others. And how many events an entry of it holds.
    stream: float
    batch: float


def accept(plan: Plan, step: Step) -> tuple[list[Row], float]:
    """Everything that can be measured while the endpoints take all they can; also says our median rate."""
    samples: dict[str, list[Sample]] = {BARE: [], OURS: [], JOBS: []}
    for _ in range(plan.repeat):
        for contender, taken in samples.items():
            with step(f"{contender}: taking calls"):
                taken.append(_sample(contender, plan))

    def spread(contender: str, value: Callable[[Sample], float]) -> Spread:
        return Spread([value(sample) for sample in samples[contender]])

    def row(name: str, beside: str, value: Callable[[Sample], float], goal: Goal | None = None) -> Row:
        theirs = spread(beside, value) if beside else None
        return Row(name, spread(OURS, value), beside, theirs, goal)

    small = Goal("≤ 130", lambda ours, _: ours <= 130)
    rows = [
        row("calls taken/s", BARE, _rate, Goal("≥ 0.75 x", lambda _, ratio: ratio >= 0.75)),
        row("calls taken/s", JOBS, _rate, Goal("≥ 6 x", lambda _, ratio: ratio >= 6)),
        row("endpoint CPU, µs/call", BARE, lambda sample: sample.server_cpu),
        row("endpoint CPU, µs/call", JOBS, lambda sample: sample.server_cpu),
        row("Redis CPU, µs/call", JOBS, lambda sample: sample.redis_cpu),
        row("Redis memory, bytes/event", JOBS, lambda sample: sample.memory, small),
        row("stream alone, bytes/event", "", lambda sample: sample.stream, small),
        row("events per stream entry", "", lambda sample: sample.batch),
        row("sender CPU, cores", BARE, lambda sample: sample.sent.sender_cpu),
    ]
    return rows, spread(OURS, _rate).median


def wait(plan: Plan, rate: float, step: Step) -> list[Row]:
    """How long a sender waits for its 200 when calls come at that rate."""
    sent: dict[str, list[Sent]] = {BARE: [], OURS: []}
    for _ in range(plan.repeat):
        for contender, taken in sent.items():
            with step(f"{contender}: latency"):
                taken.append(_paced(contender, plan, rate))

    def row(name: str, value: Callable[[Sent], float]) -> Row:
        ours, theirs = (Spread([value(each) for each in sent[contender]]) for contender in (OURS, BARE))
        return Row(name, ours, BARE, theirs)

    return [
        row("calls/s at half our rate", _sent_rate),
        row("latency p50 there, ms", lambda each: each.p50),
        row("latency p99 there, ms", lambda each: each.p99),
    ]


def _rate(sample: Sample) -> float:
    return sample.sent.rate


def _sent_rate(sent: Sent) -> float:
    return sent.rate


def _sample(contender: str, plan: Plan) -> Sample:
    with scratch() as folder, redis_server(folder) as store:
        empty = store.used_memory
        with endpoint(contender, store, folder) as (port, process):
            warm = load.send(port, plan.warm_seconds)
            server, behind = cpu_seconds(process.pid), cpu_seconds(store.pid)
            sent = load.send(port, plan.seconds)
            server, behind = cpu_seconds(process.pid) - server, cpu_seconds(store.pid) - behind
        # The endpoint is gone, and what Redis held for its connections with it.
        events = warm.answered + sent.answered
        memory = store.used_memory - empty
        stream, entries = _stream(store)
    return Sample(
        sent,
        server * 1e6 / sent.answered,
        behind * 1e6 / sent.answered,
        memory / events,
        stream / events,
        events / entries if entries else 0.0,
    )


def _paced(contender: str, plan: Plan, rate: float) -> Sent:
    with scratch() as folder, redis_server(folder) as store, endpoint(contender, store, folder) as (port, _):
        load.send(port, plan.warm_seconds, rate)
        return load.send(port, plan.seconds, rate)


def _stream(store: Store) -> tuple[int, int]:
    """Bytes and entries of our stream."""
    name = Keys().stream
    size = store.client.memory_usage(name, samples=0)
    return int(size or 0), int(store.client.xlen(name))
