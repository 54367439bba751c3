"""The corpus: for each target a few inputs that between them reach all that any run has reached.

One JSON file for each target, a string of Latin-1 for each input, so that a change can be read.
"""

import json
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")
#: Inputs that are kept of a target, and the bytes of each, at most: it is part of the sources.
INPUTS_MAX, SIZE_MAX = 300, 1200


def read(target: str) -> list[bytes]:
    """The inputs of a target; none if nothing was kept yet."""
    path = FOLDER / f"{target}.json"
    return [text.encode("latin-1") for text in json.loads(path.read_text())] if path.exists() else []


def write(target: str, inputs: Iterable[bytes]) -> int:
    """Keep inputs of a target, the shortest ones; returns how many."""
    small = sorted({one for one in inputs if len(one) <= SIZE_MAX}, key=lambda one: (len(one), one))[:INPUTS_MAX]
    FOLDER.mkdir(exist_ok=True)
    texts = [one.decode("latin-1") for one in small]
    (FOLDER / f"{target}.json").write_text(json.dumps(texts, indent=0) + "\n")
    return len(small)
