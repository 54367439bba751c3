"""What measuring takes: the endpoint with a metrics port beside the endpoint without, in turns.

`python -m tests.benchmarks.metrics` sends the same calls at one rate to both at a time, and compares the processor
time of the process that takes them; nobody looks at the metrics meanwhile.
"""

from pathlib import Path
from statistics import median

import click

from tests.benchmarks import load
from tests.benchmarks.servers import OURS, cpu_seconds, endpoint, redis_server, scratch
from tests.support.running import descendants, free_port

#: Calls per second: as a large mailing brings them, and as fast as they are taken.
PACES = (2000.0, None)


def sample(measured: bool, seconds: float, pace: float | None) -> float:
    """µs of processor time per call, of the process that takes the calls."""
    more = {"INGEST_METRICS_PORT": str(free_port())} if measured else {}
    with (
        scratch() as folder,
        redis_server(folder) as store,
        endpoint(OURS, store, folder, **more) as (port, process),
    ):
        web = next(pid for pid in sorted(descendants(process.pid)) if _takes_calls(pid))
        load.send(port, 1.0, pace)
        before = cpu_seconds(web)
        sent = load.send(port, seconds, pace)
        return (cpu_seconds(web) - before) * 1e6 / sent.answered


def _takes_calls(pid: int) -> bool:
    return b"--listening" in Path(f"/proc/{pid}/cmdline").read_bytes()


@click.command()
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True, help="Rounds; in each, both.")
@click.option("--seconds", type=float, default=3.0, show_default=True, help="Of sending, each time.")
def main(repeat: int, seconds: float) -> None:
    """Measure both, and print medians and the rounds' differences."""
    for pace in PACES:
        without: list[float] = []
        with_it: list[float] = []
        for number in range(repeat):
            for measured in (False, True) if number % 2 else (True, False):
                (with_it if measured else without).append(sample(measured, seconds, pace))
        parts = sorted((ours / theirs - 1) * 100 for ours, theirs in zip(with_it, without, strict=True))
        click.echo(
            f"{f'{pace:,.0f} calls/s' if pace else 'full rate'}: {median(without):.1f} µs without, "
            f"{median(with_it):.1f} µs with ({min(with_it):.1f}-{max(with_it):.1f}); "
            f"{median(parts):+.1f} % ({parts[0]:+.1f} to {parts[-1]:+.1f})"
        )


if __name__ == "__main__":
    main()
