"""Standard output and standard error as they are: in any encoding, closed, or with a reader that has left."""

import codecs
import errno
import io
import os
import select
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from ingest import shown
from ingest.errors import Unavailable

#: The last of the files that every process has from its start: input, output, errors.
STDERR = 2
#: The name of our way to write what an encoding lacks.
LEGIBLE = "ingest-legible"
#: Ways that would fail, and for which ours is used; whoever asked for another one gets that.
FAILING = ("strict", "surrogateescape", "backslashreplace")
#: What an output says whose disk is full or fails.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
#: What stands for the signs that we draw with; everything else is written as an escape.
SUBSTITUTES = {
    "…": "...", "█": "#", "▏": "|", "▁": "1", "▂": "2", "▃": "3", "▄": "4", "▅": "5", "▆": "6", "▇": "7",
    "━": "-", "╸": "-", "╺": "-",
}  # fmt: skip  # read across


def _legible(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(SUBSTITUTES.get(c) or ascii(c)[1:-1] for c in lacking), error.end


codecs.register_error(LEGIBLE, _legible)


def set_up() -> None:
    """Make sure that nothing printed fails for want of a character, and that no traceback shows a secret."""
    _fill_standard_files()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  # until we end
        elif isinstance(stream, io.TextIOWrapper) and stream.errors in FAILING:
            stream.reconfigure(errors=LEGIBLE)
    sys.excepthook = _show_traceback
    threading.excepthook = lambda failed: _show_traceback(
        failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback
    )


def _fill_standard_files() -> None:
    """Have no socket or file of ours be what we, or a library, or a child takes for its input or output."""
    while (file := os.open(os.devnull, os.O_RDWR)) <= STDERR:  # the lowest that is closed
        os.set_inheritable(file, True)
    os.close(file)


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, SystemExit | KeyboardInterrupt):
        return
    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(shown.escaped_lines(shown.without_secrets(text)))


def is_utf8() -> bool:
    """Whether standard output takes every character."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Print in this block; that nobody reads it any more is no error.

    What is left of the block is skipped then; what is printed after it goes nowhere.

    Raises:
        Unavailable: the output cannot be written, because its disk is full or fails.
    """
    try:
        yield
    except BrokenPipeError:
        if not _reader_left():
            raise
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:  # that of another file than the output
            raise
        _discard_output()
        raise Unavailable(f"The output cannot be written: {error.strerror}; write it elsewhere.") from None
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _discard_output()
        except OSError as error:
            _discard_output()
            raise Unavailable(f"The output cannot be written: {error.strerror}; write it elsewhere.") from None


def _discard_output() -> None:
    """Let what is printed from now on go nowhere: Python would write once more at its exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reader_left() -> bool:
    """Whether it was standard output that broke, rather than a connection to some server."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
