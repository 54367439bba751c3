"""What is fuzzed, with the inputs that fuzzing has found to reach the most."""

import pytest

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_the_corpus_breaks_a_promise(target: str) -> None:
    inputs = corpus.read(target)
    assert len(inputs) > 2
    for one in inputs:
        TARGETS[target](one)
        TARGETS[target](one[:-1])
