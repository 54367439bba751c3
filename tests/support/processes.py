"""Functions run in processes of their own, all at the same time."""

import multiprocessing
from typing import Any


def at_once(target: Any, *arguments: tuple[Any, ...]) -> list[int | None]:
    """Run a function in as many processes, which meet at a barrier; their exit codes."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(arguments))
    processes = [context.Process(target=target, args=(barrier, *given)) for given in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.close()
    return codes
