"""Whatever can be found wrong has its section in the runbook, and nothing else has one."""

import re

import pytest

from ingest import health
from tests.support.runbook import DUTCH, DUTCH_PARTS, PARTS, RUNBOOK, sections
from tests.support.source import ROOT
from workers.operations import warnings

#: What only Prometheus sees: alerts of deploy/prometheus without a code of ours.
OF_PROMETHEUS = {"slow-answers", "spool-nearly-full", "descriptors-nearly-used-up", "not-watched"}
#: What needs a server that is older than any that can be had.
NOT_TO_BE_HAD = {"database-too-old"}


def found_by_check() -> set[str]:
    return {code.value for code in health.RiskCode}


def test_the_runbook_describes_what_can_be_found_and_nothing_else() -> None:
    headings = re.findall(r"^## ([a-z-]+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert len(headings) == len(set(headings))
    codes = found_by_check() | {code.value for code in warnings.Code} | OF_PROMETHEUS
    assert codes == set(headings)


def test_the_runbook_names_every_alert_of_prometheus() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "deploy").glob("prometheus/alerts.yaml"))
    alerts = set(re.findall(r"- alert: (\w+)", rules))
    assert alerts - set(re.findall(r"`(Ingest\w+)`", RUNBOOK.read_text())) == set()


@pytest.mark.parametrize("code", sorted(sections()))
def test_each_section_says_what_it_means_and_what_to_do(code: str) -> None:
    text = sections()[code]
    assert re.findall(r"^- \*\*(.*?)\*\*: \S", text, re.MULTILINE) == list(PARTS)
    assert re.search(r"^> \S", text, re.MULTILINE)


@pytest.mark.parametrize("code", sorted(sections()))
def test_the_dutch_runbook_shows_the_same_sentences_and_has_the_same_parts(code: str) -> None:
    english, dutch = sections()[code], sections(DUTCH)[code]
    shown = re.compile(r"^> .*$", re.MULTILINE)
    assert shown.findall(dutch) == shown.findall(english)
    assert re.findall(r"^- \*\*(.*?)\*\*: \S", dutch, re.MULTILINE) == list(DUTCH_PARTS)


def test_the_dutch_runbook_has_the_codes_in_the_same_order() -> None:
    assert list(sections(DUTCH)) == list(sections())


def test_every_finding_of_check_is_provoked_by_a_test() -> None:
    tests = "\n".join(path.read_text() for path in ROOT.glob("tests/*/test_*.py"))
    assert {code for code in found_by_check() if f'"{code}"' not in tests} - NOT_TO_BE_HAD == set()
