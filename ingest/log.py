"""One form of log line for every process."""

import logging
import sys


def set_up(level: str) -> None:
    """Log to standard error, from that level up; hosts and `ingest dev` collect it from there."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    for name in ("aiohttp", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It announces each retry without saying of what; whoever retries says it in full.
    logging.getLogger("stamina").setLevel(logging.ERROR)
