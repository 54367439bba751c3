"""Notes that are alike are gathered."""

from hypothesis import given
from hypothesis import strategies as st

from workers.reconcile.notes import ALIKE, KINDS, Notes


@given(
    st.lists(st.sampled_from([f"x{name} of {name * 2}, line {{}}: {name} is odd" for name in "abcdefghijklmnop"]))
)
def test_each_note_is_shown_or_counted_and_there_are_few(kinds: list[str]) -> None:
    notes = Notes()
    for number, text in enumerate(kinds):
        notes.add(text.format(number))
    left_out = sum(int(note.split()[2]) for note in notes if note.startswith("…"))
    shown = [note for note in notes if not note.startswith("…")]
    assert len(shown) + left_out == len(kinds)
    assert len(notes) <= KINDS * (ALIKE + 1) + 1


def test_what_is_left_out_is_said_behind_the_first_ones() -> None:
    notes = Notes()
    for number in range(1002):
        notes.add(f"cdm-click.2026-11-20.log, line {number}: '{number}' is not a valid time")
    notes.add("The clock is 3 s behind.")
    assert notes[ALIKE:] == ["… and 998 more: … is not a valid time", "The clock is 3 s behind."]
