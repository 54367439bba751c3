"""A short attack of the kind that `make chaos` does with 200,000 requests."""

from pathlib import Path

from tests.chaos.fuzz import attack_and_judge


def test_three_thousand_requests_that_nobody_should_send_do_no_harm(redis_url: str, tmp_path: Path) -> None:
    figures = attack_and_judge(redis_url, tmp_path, seed=7, requests=3000)
    answers = figures["answers"]
    assert isinstance(answers, dict)
    assert answers.keys() >= {"200", "400", "401", "413"}, "the attack was not varied enough to say anything"
