"""Which constants the property tests try beside what they draw.

Hypothesis takes those of the modules that are loaded: what a test tried depended on the tests that had run before
it in the same process, so the same seed gave other examples when the tests were spread otherwise. In `make test`,
parsing all those modules took seconds as well.
"""

from collections.abc import Iterable
from pathlib import Path

from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants, _constants_from_source


def try_those_of(paths: Iterable[Path]) -> None:
    """Try the constants in these files, and no others."""
    found = Constants()
    for path in paths:
        found |= _constants_from_source(path.read_bytes(), limit=True)
    assert callable(providers._get_local_constants), "Hypothesis takes its constants from elsewhere"
    providers._get_local_constants = lambda: found
