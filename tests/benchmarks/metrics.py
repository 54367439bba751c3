"""What measuring takes: calls through intake and producer into a real Redis, measured and not, in turns.

`python -m tests.benchmarks.metrics` does both in one process and compares its own processor time, round by round:
beside whole endpoints, whose processor time differs by more than this from run to run. Parsing and answering,
which are the same in both, are not in the figures. Redis waits for no disk, which takes time but no processor.
"""

import asyncio
import time
from functools import partial
from statistics import median

import click

from ingest import redis_client
from ingest.copernica.header_fields import HeaderFields
from ingest.endpoint.answers import KEPT, Answer
from ingest.endpoint.intake import Intake
from ingest.metrics.histogram import Histogram
from ingest.stream.appends import Stream
from ingest.stream.producer import Producer
from ingest.stream.writes import WriteTimes
from tests.benchmarks import plan
from tests.benchmarks.servers import redis_server, scratch

#: Calls under way at once: they make batches of one, and such as a mailing brings.
AT_ONCE = (1, 16, 64)
#: Calls in one round: a tenth of a second's work or so.
ROUND = 1600


async def one_round(intake: Intake, at_once: int) -> float:
    """µs of processor time per call."""
    bodies = [call.body for call in plan.calls()[:ROUND]]
    done = asyncio.Event()
    left = len(bodies)

    def answered(answer: Answer) -> None:
        nonlocal left
        assert answer is KEPT
        left -= 1
        if bodies:
            submit()
        elif not left:
            done.set()

    def submit() -> None:
        intake.submit(b"/copernica", HeaderFields({}), bodies.pop(), answered)

    before = time.process_time()
    for _ in range(at_once):
        submit()
    await done.wait()
    return (time.process_time() - before) * 1e6 / ROUND


async def measure(url: str, at_once: int, rounds: int) -> tuple[list[float], list[float]]:
    """The figures of each round without and with measuring, in turns."""
    async with redis_client.connect_async(url) as client:
        producer = Producer([Stream(client)], lambda: None)
        intake = Intake(producer, 10**6)
        times = WriteTimes(Histogram(), Histogram(), 0.0)
        found: dict[bool, list[float]] = {False: [], True: []}
        for number in range(-2, 2 * rounds):
            measured = bool(number % 2) ^ bool(number // 2 % 2)  # who is first changes, too
            producer.times = times if measured else None
            cost = await one_round(intake, at_once)
            if number >= 0:
                found[measured].append(cost)
        await producer.close()
    return found[False], found[True]


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=40, show_default=True, help="Of each kind.")
def main(rounds: int) -> None:
    """Measure both, and print medians and the difference of the pairs."""
    for at_once in AT_ONCE:
        with scratch() as folder, redis_server(folder) as store:
            store.client.config_set("appendfsync", "no")
            without, with_it = asyncio.run(partial(measure, store.url, at_once, rounds)())
        apart = sorted(ours - theirs for ours, theirs in zip(with_it, without, strict=True))
        quarter = len(apart) // 4
        click.echo(
            f"{at_once:3} calls at once: {median(without):.2f} µs without, {median(with_it):.2f} µs with; "
            f"{median(apart):+.2f} µs (middle half {apart[quarter]:+.2f} to {apart[-quarter - 1]:+.2f}); "
            f"least {min(without):.2f} and {min(with_it):.2f} µs"
        )


if __name__ == "__main__":
    main()
