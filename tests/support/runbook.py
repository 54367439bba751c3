"""The runbook as tests read it: for each code, the sentences that people are shown."""

import re
from functools import lru_cache
from pathlib import Path

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"
DUTCH = RUNBOOK.with_suffix(".nl.md")
#: What each section says.
PARTS = ("Means", "Look at", "Do", "Waiting costs")
DUTCH_PARTS = ("Betekent", "Kijk naar", "Doe", "Wachten kost")


@lru_cache
def sections(page: Path = RUNBOOK) -> dict[str, str]:
    """The text below each heading that is a code."""
    parts = re.split(r"^## (.*)$", page.read_text(), flags=re.MULTILINE)
    return {
        name: text for name, text in zip(parts[1::2], parts[2::2], strict=True) if re.fullmatch(r"[a-z-]+", name)
    }


def is_shown(code: str, text: str) -> bool:
    """Whether the runbook shows this sentence under this code; `…` stands for whatever differs."""
    sentences = re.findall(r"^> (.*)$", sections()[code], re.MULTILINE)
    patterns = [".*".join(map(re.escape, sentence.split("…"))) for sentence in sentences]
    return any(re.fullmatch(pattern, text, re.DOTALL) for pattern in patterns)
