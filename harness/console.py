"""What is said on standard output, where nobody may be listening any more."""

import errno
import os
import re
import shutil
import sys
from contextlib import suppress
from typing import TextIO

from harness.wording import in_rows

__all__ = ["flush", "say", "say_error"]

# EIO: the terminal is gone, and the process was told to live on (nohup).
_GONE = {errno.EPIPE, errno.EIO}
_COMMAND = re.compile(r"(?:^ *|(?<=: ))(?:harness (?![\w-]+: )|pytest ).*")
"""With which a line may end, or which it may be; not an error, which begins with its command."""


def say(line: str) -> None:
    """Print one line at once, so that logs of a batch job are current.

    A terminal breaks a long one between its words; a command that it ends with stays whole.

    Where the reader has gone (``| head``), it is dropped: what a command does and its exit code
    do not depend on who reads along.

    Raises
    ------
    OSError
        If standard output is a file that cannot be written, on a full disk for example.
    """
    try:
        _write(_fitted(line, sys.stdout))
    except OSError as error:
        _to_nowhere(sys.stdout)  # or the interpreter would try again at its end, and complain
        if error.errno not in _GONE:
            raise OSError(error.errno, error.strerror, "standard output") from None


def say_error(line: str) -> None:
    """Print one line to standard error; where that fails nobody can be told."""
    if sys.stderr is None:  # closed before this process began; `print` would take standard output
        return
    try:
        print(_fitted(line, sys.stderr), file=sys.stderr, flush=True)  # noqa: T201
    except (OSError, ValueError):
        _to_nowhere(sys.stderr)


def flush() -> None:
    """Write what others have printed, or drop it where nobody reads: the end would complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            _to_nowhere(stream)


def _fitted(line: str, stream: TextIO | None) -> str:
    """Return a line as rows of the terminal behind a stream; where there is none, as it is."""
    if stream is None or stream.closed or not stream.isatty():
        return line
    width = shutil.get_terminal_size().columns
    found = _COMMAND.search(line) if len(line) > width else None
    if found is None:
        return in_rows(line, width)
    # What is copied must be one line, wherever the terminal goes on with it.
    before = in_rows(line[: found.start()].rstrip(), width)
    return f"{before}\n{found[0]}" if before else line


def _write(line: str) -> None:
    try:
        print(line, flush=True)  # noqa: T201
    except UnicodeEncodeError:  # a file's name may be no text, and a terminal know few letters
        known = sys.stdout.encoding or "ascii"
        print(line.encode(known, "backslashreplace").decode(known), flush=True)  # noqa: T201


def _to_nowhere(stream: object) -> None:
    """Let everything that is still to be written to a stream go nowhere."""
    # What stands in for a stream within a test has no descriptor.
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
        os.close(nowhere)
