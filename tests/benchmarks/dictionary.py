"""Trains the dictionary with which the endpoint packs batches, from the simulator's calls without anybody in them.

    python -m tests.benchmarks.dictionary 2 ingest/dictionaries/2.zstd

makes the one with number 2. A dictionary that was ever released is never made again: what was packed with it can
be read with these very bytes only. See `ingest.batch`.

What a dictionary holds can be read in every copy of this program, and what it saves should be saved in anybody's
calls. So each value that is about a person or belongs to one customer is replaced by random characters of the same
kind: names of fields, types, browsers, codes and the words of mail systems are all that repeats.
"""

import random
import re
import string
import sys
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import zstandard

from ingest.batch import Record, plain
from ingest.simulation.calls import FORM, Simulator

#: Calls to learn from, and the seed of the run.
CALLS, SEED = 20_000, 1
#: Bytes of a dictionary: twice as many save 1 % more and push others out of the processor's caches.
SIZE = 8 * 1024
#: Where calls are posted to, by default.
TARGET = b"/copernica"
#: Fields whose values are the same for everybody.
COMMON = frozenset({"type", "useragent", "referer", "code", "extended", "state", "description", "action"})
#: What is common in a mail: the names of headers, and the values of these.
_HEADER = re.compile(r"([A-Z][A-Za-z-]+: )(.*)", re.DOTALL)
_COMMON_HEADER = re.compile(r"(?:MIME-Version|Auto-Submitted|Action|Feedback-Type): .*|Content-[A-Za-z-]+: [^\"]*")
_SCHEME = re.compile(r"(https?://(?:www\.)?)(.*)", re.DOTALL)
_KINDS = (string.ascii_lowercase, string.ascii_uppercase, string.digits)


class Anonymiser:
    """Puts random characters in the place of whatever could be about somebody."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def noise(self, text: str) -> str:
        """Each letter or digit replaced by any of its kind; other alphabets count as small letters."""
        return "".join(self._any(character) for character in text)

    def _any(self, character: str) -> str:
        if not character.isalnum():
            return character
        kind = next((kind for kind in _KINDS if character in kind), string.ascii_lowercase)
        return self._random.choice(kind)

    def value(self, name: str, text: str) -> str:
        """The value of a field."""
        if name in COMMON:
            return re.sub(r"queued as \w+", lambda match: "queued as " + self.noise(match[0][10:]), text)
        if name == "mime":
            return "\r\n".join(self._line(line) for line in text.split("\r\n"))
        if match := _SCHEME.fullmatch(text):
            return match[1] + self.noise(match[2])
        return self.noise(text)

    def _line(self, line: str) -> str:
        if match := _COMMON_HEADER.match(line):
            return match[0] + self.noise(line[match.end() :])
        if match := _HEADER.fullmatch(line):
            return match[1] + self.noise(match[2])
        return self.noise(line)

    def record(self, body: bytes) -> Record:
        """A call with that body and nothing of it."""
        pairs = parse_qsl(body.decode(), keep_blank_values=True)
        body = urlencode([(name, self.value(name, value)) for name, value in pairs]).encode()
        draw = self._random
        return Record(draw.randbytes(12), draw.randrange(2**51), TARGET, FORM.encode(), body)


def samples() -> list[bytes]:
    """What a dictionary is trained on: records as they are packed, one by one."""
    anonymiser = Anonymiser(SEED)
    return [plain([anonymiser.record(call.body)]) for call in islice(Simulator(SEED), CALLS)]


def main(number: int, path: Path) -> None:
    """Train, and write."""
    examples: list[bytes | bytearray | memoryview] = [*samples()]
    trained = zstandard.train_dictionary(SIZE, examples, dict_id=number, level=1).as_bytes()
    path.write_bytes(trained)
    print(f"{path}: {len(trained)} bytes")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
