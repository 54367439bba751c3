"""Property tests try the same examples, whatever has run before them."""

from pathlib import Path

from hypothesis.internal.conjecture import providers

from tests.support.constants import try_those_of


def test_no_constants_are_tried_but_those_of_the_files_named(tmp_path: Path) -> None:
    assert len(providers._get_local_constants()) == 0
    path = tmp_path / "module.py"
    path.write_text('NAME = "a name of ours"\n')
    try_those_of([path])
    try:
        assert list(providers._get_local_constants().set_for_type("string")) == ["a name of ours"]
    finally:
        try_those_of(())
