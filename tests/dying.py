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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
def interfering(
    folder: Path, decide: Callable[[int, str], BaseException | None]
) -> Iterator[list[str]]:
    """Ask before each call beneath a folder, by its number from 0 and its name, for an error.

    Other calls are none of the test's: a loader of an earlier one may still read in its thread,
    and the garbage collector removes earlier ones' temporary folders whenever it likes.
    """
    made: list[str] = []
    tested = threading.get_ident()

    def called(name: str, real: Callable[..., Any], *args: Any, **given: Any) -> Any:
        if threading.get_ident() != tested or not _concerns(folder, name, args, given):
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


def dying_at(call: int, folder: Path) -> Any:
    """Let nothing be done to files from a call on, by whatever would clean up, as after a kill."""
    return interfering(folder, lambda number, _: Killed() if number >= call else None)


def failing_at(call: int, error: BaseException, folder: Path) -> Any:
    """Let one call fail, and those after it succeed."""
    return interfering(folder, lambda number, _: error if number == call else None)


def dead_at_name(number: int, folder: Path) -> Any:
    """Die where a result is to get its name, counted from 0."""
    return dead_at(number, ("rename", "replace", "link"), folder)


def dead_at(number: int, kinds: Sequence[str], folder: Path) -> Any:
    """Die in a call of these names, counted from 0; nothing is done to files after it."""
    seen: list[str] = []

    def decide(_: int, made: str) -> BaseException | None:
        if made in kinds:
            seen.append(made)
        return Killed() if len(seen) > number else None

    return interfering(folder, decide)


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


def _concerns(folder: Path, name: str, args: Sequence[Any], given: Mapping[str, Any]) -> bool:
    """Say whether a call is of a file or folder beneath a folder, or of that folder."""
    keys = ("dir_fd", "src_dir_fd", "dst_dir_fd")
    # A name beside a descriptor is one in that folder, not in the current one.
    held = [given[key] for key in keys if given.get(key) is not None]
    places = held or args[: 2 if name in ("rename", "replace", "link") else 1]
    return any(_lies_in(folder, place) for place in places)


def _lies_in(folder: Path, place: object) -> bool:
    if isinstance(place, int):
        path = Path(f"/proc/self/fd/{place}")
        return path.is_symlink() and f"{path.readlink()}/".startswith(f"{folder}/")
    if not isinstance(place, str | os.PathLike):
        return False
    return f"{Path(place).absolute()}/".startswith(f"{folder}/")


def _main(folder: Path, call: int, words: list[str]) -> int:
    from harness.cli import main

    count = 0

    def called(name: str, real: Callable[..., Any], *args: Any, **given: Any) -> Any:
        nonlocal count
        if _concerns(folder, name, args, given):
            if count == call:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
        return real(*args, **given)

    for owner, name in CALLS:
        setattr(owner, name, partial(called, name, getattr(owner, name)))
    code = main(words)
    print(count, flush=True)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
