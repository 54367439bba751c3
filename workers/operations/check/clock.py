"""Our clock beside those of others."""

from ingest.health import CLOCK_TOLERANCE, RiskCode
from workers.operations.check.findings import Finding, ok, risk, wrong


def compared(whose: str, code: RiskCode, offset: float, max_age: int) -> Finding:
    """What a difference of so many seconds means, of which calls may have `max_age`."""
    difference = f"our clock and that of {whose} differ by {abs(offset):.1f} s"
    if abs(offset) > max_age:
        ours = "" if code is RiskCode.CLOCK_COPERNICA else "if ours is the wrong one, "
        return wrong("clock", code, f"{difference}: {ours}genuine calls are refused as too old or too new")
    if abs(offset) > CLOCK_TOLERANCE:
        return risk("clock", code, f"{difference}: one of them is wrong")
    return ok("clock", difference)
