"""The one writer: a file or folder has its name once all of it is on disk, or not at all.

It is written aside, in the same folder, so that a name is all that changes in the end: every file
and folder is synced, then renamed, then the folder that holds it is synced. An error or a kill at
any point leaves under the name what was there before; what a kill leaves aside is removed when the
same thing is written again.
"""

import errno
import filecmp
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harness.asides import is_aside, new_file, new_folder, sync, sync_open, sync_tree
from harness.devices import is_stream, open_stream

__all__ = [
    "NotWrittenError",
    "check_target",
    "list_entries",
    "remove_old",
    "whole_file",
    "whole_folder",
    "write_bytes",
    "write_text",
]

# EFBIG: a limit on the size of files, which ends a write as a full disk does.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# What link(2) answers where a file system has no hard links, or not one more.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
# What rename(2) answers where a folder of the name holds something, or a file has it.
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}


class NotWrittenError(OSError):
    """Something could not be written; the message names it as the caller did, and says why."""

    def __str__(self) -> str:
        """Return one line for people."""
        advice = "; make room, then give the same command again" if self.errno in _FULL else ""
        return f"{self.filename}: not written: {self.strerror}{advice}"


@contextmanager
def whole_file(path: Path, *, new: bool = False) -> Iterator[BinaryIO]:
    """Write a file that replaces, at the end and at once, what has its name.

    A link stays, and what it leads to is replaced; so do the permissions of what is replaced.
    What is no file (a pipe, a terminal, ``/dev/null``, ``/dev/stdout``) is written to directly.

    Parameters
    ----------
    path : pathlib.Path
        In a folder that exists.
    new : bool, default False
        Replace nothing. A file that holds the very same bytes is as good as written: a command
        that was killed at its end may be given again.

    Yields
    ------
    BinaryIO
        To be written to.

    Raises
    ------
    FileExistsError
        If `new`, and the file holds something else.
    NotWrittenError
        If the system refuses, for example because the disk is full.
    """
    # At once: whoever fills it may change the working directory.
    target = _resolved(path)
    with _named(path, target.parent):
        check_target(path, new=new)
        if is_stream(path):
            with open_stream(path) as stream:
                yield stream
            return
        with new_file(target) as (aside, descriptor):
            if not new and target.exists():
                os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
            with _filled(descriptor, target) as file:
                yield file
            if new:
                _link(aside, target, path)
            else:
                aside.replace(target)
            sync(target.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that has its name only once everything in it is on disk.

    A folder that is there gets each entry, whole, under its name in turn. An entry that it has
    must hold the very same, and stays: a command that was killed at its end may be given again.

    Parameters
    ----------
    path : pathlib.Path
        Folders above it are made.

    Yields
    ------
    pathlib.Path
        An empty folder, to be filled.

    Raises
    ------
    FileExistsError
        If an entry is there and holds something else, or the path is a file; nothing is changed.
    NotWrittenError
        If the system refuses, for example because the disk is full.
    """
    target = _resolved(path)
    with _named(path, target.parent):
        if target.exists() and not target.is_dir():
            raise _taken(path)
        _make_folders(target.parent)
        # Within a folder that is there: it may be a mount, and no rename leaves a file system.
        with new_folder(target if target.is_dir() else target.parent, target) as content:
            yield content
            sync_tree(content)
            if not _renamed(content, target):
                _merge(content, target, path)
            sync(target.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as :func:`whole_file` does."""
    with whole_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a file as :func:`whole_file` does, in UTF-8."""
    write_bytes(path, text.encode())


def check_target(path: Path, *, new: bool = False) -> None:
    """Refuse a file that could not be written, before the work whose result it is to hold.

    Raises
    ------
    FileExistsError
        If `new`, and there is something else than a file.
    NotWrittenError
        If it is a folder, is in none, or is protected.
    """
    target = _resolved(path)
    if is_stream(path):
        if new:
            raise _taken(path)
        return
    if target.is_dir():
        raise NotWrittenError(errno.EISDIR, "is a folder, expected a file's name", str(path))
    if not target.parent.is_dir():
        folder = target.parent if path.is_symlink() else path.parent
        msg = f"there is no folder {folder}; make it first"
        raise NotWrittenError(errno.ENOENT, msg, str(path))
    if target.is_symlink():
        raise NotWrittenError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    # Asked in this order: a file that another process removes between the two is not protected.
    if not new and not os.access(target, os.W_OK) and target.exists():
        raise NotWrittenError(errno.EACCES, "is there and protected against writing", str(path))


def remove_old(path: Path) -> None:
    """Remove a file that no longer holds, before the work whose result replaces it.

    Raises
    ------
    NotWrittenError
        As :func:`check_target`.
    """
    check_target(path)
    if not is_stream(path):
        _resolved(path).unlink(missing_ok=True)


def list_entries(folder: Path) -> list[str]:
    """Return the names in a folder, sorted, without what is being written or was left aside."""
    return sorted(entry.name for entry in folder.iterdir() if not is_aside(entry.name))


@contextmanager
def _named(path: Path, folder: Path) -> Iterator[None]:
    """Tell errors by the name that was asked for; the aside's says nothing to anybody."""
    try:
        yield
    except OSError as error:
        if error.errno is None or not _concerns(error.filename, folder):
            raise
        raise NotWrittenError(error.errno, error.strerror, str(path)) from error


def _concerns(filename: object, folder: Path) -> bool:
    """Say whether an error is of the writer's own files, not of one that the caller reads."""
    if filename is None:
        return True
    parts = Path(os.fsdecode(filename)).parts if isinstance(filename, str | bytes | Path) else ()
    return any(map(is_aside, parts)) or filename in (folder, str(folder))


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _taken(path: Path) -> FileExistsError:
    return FileExistsError(
        f"{path}: exists and holds something else, which is never overwritten; name another, or "
        "remove it"
    )


@contextmanager
def _filled(descriptor: int, path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to, then flush and sync it, each of which may find the disk full."""
    # The descriptor stays open, because the lock ends with it.
    file = os.fdopen(descriptor, "wb", closefd=False)
    try:
        yield file
        file.flush()
        sync_open(descriptor, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            file.close()
        raise
    file.close()


def _link(aside: Path, target: Path, path: Path) -> None:
    """Give a file a name that nothing has; of two processes one succeeds."""
    try:
        # A rename would replace what another process has just named.
        target.hardlink_to(aside)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not target.exists():
            aside.rename(target)
            return
    if not _is_same(aside, target):
        raise _taken(path)


def _renamed(content: Path, target: Path) -> bool:
    """Give a folder its name, unless a folder of that name holds anything already."""
    # An empty one would be replaced, although it may be a mount, or somebody's current folder.
    if target.is_dir():
        return False
    try:
        content.rename(target)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _merge(content: Path, target: Path, path: Path) -> None:
    # All are compared before the first is named, so that a refusal changes nothing.
    absent = []
    for entry in sorted(content.iterdir()):
        there = target / entry.name
        if not os.path.lexists(there) or (there.is_dir() and not any(there.iterdir())):
            absent.append(entry)
        elif not _is_same(entry, there):
            raise _taken(path / entry.name)
    for entry in absent:
        entry.rename(target / entry.name)
    sync(target)


def _is_same(one: Path, other: Path) -> bool:
    if not one.is_dir() or not other.is_dir():
        # A shallow filecmp takes equal size and time for equal content.
        return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
    names = list_entries(one)
    return names == list_entries(other) and all(_is_same(one / n, other / n) for n in names)


def _make_folders(folder: Path) -> None:
    if not folder.is_dir():
        _make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
