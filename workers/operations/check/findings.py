"""What one look at the set-up brings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from ingest.health import Risk, RiskCode


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    RISK = "risk"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one thing that was checked."""

    level: Level
    about: str
    text: str
    #: Where docs/runbook.md describes it; None where all is well.
    code: RiskCode | None = None


def ok(about: str, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, about, text)


def risk(about: str, code: RiskCode, text: str) -> Finding:
    """It works, but may cost calls or show them to others."""
    return Finding(Level.RISK, about, text, code)


def wrong(about: str, code: RiskCode, text: str) -> Finding:
    """It does not work."""
    return Finding(Level.WRONG, about, text, code)


def risks(about: str, found: Iterable[Risk]) -> Iterator[Finding]:
    """Risks that others have found."""
    for one in found:
        yield risk(about, one.code, one.text)
