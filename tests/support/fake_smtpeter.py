"""SMTPeter for tests: the fake, served on a real socket, and its log files."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ingest.copernica.api.retry import RetryPolicy
from ingest.copernica.logfiles.kinds import KINDS
from ingest.copernica.smtpeter.client import SMTPeter
from ingest.simulation.fake_api import FakeCopernica
from tests.support.fake_copernica import HASTY, serving
from tests.support.running import PATIENCE

#: A token of its own, with what a URL has to encode.
SMTPETER_TOKEN = "peter/+geheim&=0123456789abcdef"


@contextmanager
def fake_smtpeter(fake: FakeCopernica) -> Iterator[dict[str, str]]:
    """Serve a fake while the block runs; gives the settings with which its SMTPeter is found."""
    fake.smtpeter.token = SMTPETER_TOKEN
    with serving(fake.app()) as url:
        yield {"INGEST_SMTPETER_URL": f"{url}/v1", "INGEST_SMTPETER_TOKEN": SMTPETER_TOKEN}


#: One that waits for a slow machine.
PATIENT = replace(HASTY, silence_timeout=PATIENCE, answer_timeout=PATIENCE)


def client(environ: Mapping[str, str], policy: RetryPolicy = PATIENT) -> SMTPeter:
    """A client of it."""
    return SMTPeter(environ["INGEST_SMTPETER_TOKEN"], environ["INGEST_SMTPETER_URL"], policy=policy)


def written(folder: Path, prefix: str, day: str, lines: Iterable[Mapping[str, str]]) -> Path:
    """A log file of these lines; columns that one does not give are empty, others are left out."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{prefix}.{day}.log"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, KINDS[prefix].columns, restval="", extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows({"time": f"{day} 09:00:00"} | dict(line) for line in lines)
    return path
