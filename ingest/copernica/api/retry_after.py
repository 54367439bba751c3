"""What an HTTP answer says about trying again: its status, and how long its Retry-After asks to wait.

Used for Copernica's REST API and for calls that are forwarded to a script, so that both mean the same by it.
"""

import time
from datetime import UTC
from email.utils import parsedate_to_datetime

#: Statuses below 500 after which the same call may succeed later: timeout, too early, too many requests.
TEMPORARY_STATUSES = frozenset({408, 425, 429})
#: Digits read of a number of seconds: three centuries, which every caller limits further.
MAX_DIGITS = 10


def is_temporary(status: int) -> bool:
    """Whether the same call may succeed later: the server has too much to do, or an error of its own."""
    return status in TEMPORARY_STATUSES or status >= 500


def seconds_to_wait(retry_after: str | None) -> float | None:
    """The seconds from now that a Retry-After header asks for, as a number or as a date (RFC 9110, 10.2.3).

    Never negative, and not limited: that is up to the caller. None if there is no header or it makes no sense.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:MAX_DIGITS])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time())
