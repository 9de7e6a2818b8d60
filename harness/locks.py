"""One process at a time: a lock on a file, also where the file system has none.

A lock of the system ends with its process, however that ends, on whatever machine. Some network
and user-space file systems have none. There a file beside it names the owner's host, process and
start time; one whose owner has died on this host is taken over, and one of another host is named.
"""

import errno
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from harness.errors import InputError

__all__ = ["only_process", "without_flock"]

_NO_FLOCK = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
"""What flock(2) answers where a file system has no locks."""


@contextmanager
def only_process(file: IO[Any], path: Path, busy: str) -> Iterator[None]:
    """Hold the lock of an open file while the block runs.

    Parameters
    ----------
    file : file object
        Open for writing; the lock ends with it, or with the process.
    path : pathlib.Path
        The file's path; the owner's file, where one is needed, is ``PATH.owner``.
    busy : str
        What to say where another process holds it, and what to do.

    Raises
    ------
    InputError
        If another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(busy) from None
    except OSError as error:
        if not without_flock(error):
            raise
    else:
        yield
        return
    with _owned(path.with_name(f"{path.name}.owner"), busy):
        yield


def without_flock(error: OSError) -> bool:
    """Say whether an error of flock(2) is that there are no locks here."""
    return error.errno in _NO_FLOCK


@contextmanager
def _owned(path: Path, busy: str) -> Iterator[None]:
    """Hold a file that names this process."""
    from filelock import SoftFileLock, Timeout

    lock = SoftFileLock(path, timeout=0)
    try:
        # Twice at most: the first try may do no more than remove a dead owner's file.
        lock.acquire(timeout=_RECOVERY_SECONDS, poll_interval=_RECOVERY_SECONDS / 4)
    except Timeout:
        msg = (
            f"{busy} ({path} names its owner, {_owner(path)}, because this file system has no "
            "flock; if that process has ended, remove the file)"
        )
        raise InputError(msg) from None
    print(  # noqa: T201
        f"note: {path.parent}: this file system has no flock; {path.name} keeps others out",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    try:
        yield
    finally:
        lock.release()


_RECOVERY_SECONDS = 0.4


def _owner(path: Path) -> str:
    """Return process and host of a file that filelock wrote, in words."""
    try:
        pid, host, *_ = path.read_text(encoding="utf-8", errors="replace")[:500].split("\n")
    except (OSError, ValueError):
        return "which does not say who that is"
    return f"process {pid[:20]} on {host[:80]}"
