"""What one look at the set-up brings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from ingest.health import Risk, RiskCode

#: What a finding may be about, in a word or two; the console translates them.
About: TypeAlias = Literal[
    "accounts", "clickhouse", "clock", "commands", "database", "encryption", "export", "files", "handlers",
    "hosts", "kafka", "keys", "log files", "memory", "pseudonyms", "redis", "retention", "signatures", "smtpeter",
    "spool", "streams", "webhooks", "workers",
]  # fmt: skip  # a list to be read across


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    RISK = "risk"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one thing that was checked."""

    level: Level
    about: About
    text: str
    #: Where docs/runbook.md describes it; None where all is well.
    code: RiskCode | None = None


def ok(about: About, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, about, text)


def risk(about: About, code: RiskCode, text: str) -> Finding:
    """It works, but may cost calls or show them to others."""
    return Finding(Level.RISK, about, text, code)


def wrong(about: About, code: RiskCode, text: str) -> Finding:
    """It does not work."""
    return Finding(Level.WRONG, about, text, code)


def risks(about: About, found: Iterable[Risk]) -> Iterator[Finding]:
    """Risks that others have found."""
    for one in found:
        yield risk(about, one.code, one.text)
