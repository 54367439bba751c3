"""Knowing the gaps: periods in which calls may be missing, why, and what became of them.

gap        a gap as a value, its causes and its states
filling    who fills a gap: `due`, `begin`, `renew`, `note`, `close`, `failed`
"""

from workers.gaps.filling import begin, close, due, failed, filled, note, renew
from workers.gaps.gap import Cause, Gap, State

__all__ = ["Cause", "Gap", "State", "begin", "close", "due", "failed", "filled", "note", "renew"]
