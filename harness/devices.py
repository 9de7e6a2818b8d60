"""What has a name and is no file: pipes, terminals, devices, and standard output in any case."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["is_stream", "open_stream"]

_LINKS = 40
"""Links that the system follows in a path."""


def is_stream(path: Path) -> bool:
    """Return whether what is written to a path goes somewhere at once, and replaces nothing."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:  # there is none, or writing it will say what is wrong
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def open_stream(path: Path) -> BinaryIO:
    """Open a stream for writing; what others have written to it stays."""
    # Standard output is not ours to close.
    descriptor = _descriptor(path)
    return path.open("wb") if descriptor is None else os.fdopen(descriptor, "wb", closefd=False)


def _descriptor(path: Path) -> int | None:
    """Return the descriptor of ours that a path such as ``/dev/stdout`` stands for.

    It may be a file that others write to, which must be neither replaced nor cut.
    """
    # Link by link: resolved in one go, /dev/stdout would be the log that a shell has open.
    for _ in range(_LINKS):
        folder = Path(os.path.realpath(path.parent))
        if folder == Path(f"/proc/{os.getpid()}/fd"):
            return int(path.name) if path.name.isdigit() else None
        path = folder / path.name
        if not path.is_symlink():
            return None
        path = folder / path.readlink()
    return None
