"""A short siege of the kind that `make siege` does for a minute."""

from pathlib import Path

from tests.siege.siege import Plan, besiege


def test_a_short_siege_costs_no_genuine_call_and_leaves_nothing(tmp_path: Path) -> None:
    outcome = besiege(Plan(seconds=5, rate=100, connections=200), tmp_path)
    # How much genuine calls are delayed depends on the machine.
    assert [one for one in outcome.findings if not one.holds and one.unit != "ms"] == []
    assert outcome.figures["late_calls_acknowledged"], "the observer found nothing to observe"
    assert {name.partition(",")[0] for name, answers in outcome.answers.items() if answers} > {
        "unread",
        "variants",
    }
