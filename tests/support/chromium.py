"""Where the browser is. `python -m tests.support.chromium` says so, and fails where there is none."""

import os
import shutil
import sys

#: What Debian calls it, then what others do.
NAMES = ("chromium", "chromium-browser", "google-chrome")
NONE = "there is no Chromium: apt-get install chromium, or name one in CHROMIUM"


def chromium() -> str | None:
    """The browser's program: the one in $CHROMIUM, or one that is installed; None if there is none."""
    names = [named] if (named := os.environ.get("CHROMIUM")) else NAMES
    return next(filter(None, map(shutil.which, names)), None)


if __name__ == "__main__":
    sys.exit(print(f"The browser is {found}.") if (found := chromium()) else NONE)
