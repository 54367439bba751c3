"""`python -m workers.operations.check`: each finding as a line of JSON as it comes, for who runs it beside itself.

The console does, since a check imports the modules of handlers, and may take long where a server does not answer.
"""

import io
import os
import sys

import orjson

from ingest.errors import IngestError
from ingest.settings import Settings
from ingest.shown import without_secrets
from workers.operations.check import check


def main() -> int:
    """Check by the settings of the environment; the exit code is 2 if those cannot be used."""
    out, sys.stderr = _own(1), io.TextIOWrapper(_own(2), write_through=True)
    try:
        settings = Settings.read()
    except IngestError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for finding in check(settings):
        line = {
            "level": str(finding.level),
            "about": finding.about,
            "text": without_secrets(finding.text),
            "code": None if finding.code is None else str(finding.code),
        }
        out.write(orjson.dumps(line) + b"\n")
        out.flush()
    return 0


def _own(number: int) -> io.BufferedWriter:
    """An output of this process that nothing has which a handler's module starts: that may live for ever."""
    own = os.fdopen(os.dup(number), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
    return own


if __name__ == "__main__":
    sys.exit(main())
