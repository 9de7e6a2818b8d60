"""Failing, or dying, in a given call of those by which files are changed.

``python -m tests.dying FOLDER CALL WORDS...`` runs ``harness WORDS...`` and kills itself in the
given call that concerns FOLDER, counted from 0. Where it is not reached, or -1, the number of such
calls is the last line that is printed.
"""

import io
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

CALLS: tuple[tuple[Any, str], ...] = (
    *((os, name) for name in ("open", "mkdir", "rename", "replace", "link", "unlink", "rmdir",
                              "fsync", "fchmod")),
    (io, "open"),
)  # fmt: skip
"""All that changes a name or its content, or waits for it; pathlib and shutil come through here."""


class Killed(BaseException):
    """What nothing catches, as a kill would."""


@contextmanager
def interfering(decide: Callable[[int, str], BaseException | None]) -> Iterator[list[str]]:
    """Ask before each call, by its number from 0 and its name, for an error to raise instead.

    Calls of other threads are none of the test's: a loader of an earlier one may still read.
    """
    made: list[str] = []
    tested = threading.get_ident()

    def called(name: str, real: Callable[..., Any], *args: Any, **given: Any) -> Any:
        if threading.get_ident() != tested:
            return real(*args, **given)
        made.append(name)
        error = decide(len(made) - 1, name)
        if error is not None:
            raise error
        return real(*args, **given)

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in CALLS:
            patch.setattr(owner, name, partial(called, name, getattr(owner, name)))
        yield made


def dying_at(call: int) -> Any:
    """Let nothing be done to files from a call on, by whatever would clean up, as after a kill."""
    return interfering(lambda number, _: Killed() if number >= call else None)


def failing_at(call: int, error: BaseException) -> Any:
    """Let one call fail, and those after it succeed."""
    return interfering(lambda number, _: error if number == call else None)


def dead_at_name(number: int) -> Any:
    """Die where a result is to get its name, counted from 0."""
    named: list[str] = []

    def decide(_: int, made: str) -> BaseException | None:
        if made in ("rename", "replace", "link"):
            named.append(made)
        return Killed() if len(named) > number else None

    return interfering(decide)


def device(folder: Path, name: str) -> Path:
    """Return a device like ``/dev/null`` or ``/dev/full``.

    The system's own would be lost if what is tested replaced it, as root can.
    """
    path = folder / name
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, Path("/dev", name).stat().st_rdev)
        path.open("rb").close()
    except PermissionError:
        path.unlink(missing_ok=True)
        path.symlink_to(f"/dev/{name}")
    return path


def _concerns(folder: Path, argument: object) -> bool:
    if isinstance(argument, int):
        path = Path(f"/proc/self/fd/{argument}")
        return path.is_symlink() and str(path.readlink()).startswith(f"{folder}/")
    if not isinstance(argument, str | os.PathLike):
        return False
    return f"{folder}/" in f"{Path(argument).absolute()}/"


def _main(folder: Path, call: int, words: list[str]) -> int:
    from harness.cli import main

    count = 0

    def called(real: Callable[..., Any], *args: Any, **given: Any) -> Any:
        nonlocal count
        if any(_concerns(folder, argument) for argument in args[:2]):
            if count == call:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
        return real(*args, **given)

    for owner, name in CALLS:
        setattr(owner, name, partial(called, getattr(owner, name)))
    code = main(words)
    print(count, flush=True)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
