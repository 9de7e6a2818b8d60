"""Names aside: where something is written until it is whole, and what a kill left of such.

An aside is a hidden file, or a hidden folder with a lock file in it, beside what it will become.
Whoever writes it holds a lock on that file, which the system takes away with the process, however
it ends and on whatever machine: a process number would say nothing of another machine's, and the
same one is given out again.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

__all__ = ["clear_asides", "is_aside", "new_file", "new_folder", "sync", "sync_open", "sync_tree"]

# DOTALL: a name may hold a line break.
_ASIDE = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.part", re.DOTALL)
_LONGEST = 200
"""Bytes of a name that its aside repeats; with what is added it stays below the 255 allowed."""
_LOCK, _CONTENT = "lock", "content"
_NO_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
"""What fsync(2) answers where a file system does not sync."""
_TOLD: set[int] = set()
"""Devices of which this was said."""
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


def is_aside(name: str) -> bool:
    """Return whether a file or folder of this name is an aside."""
    return _ASIDE.fullmatch(name) is not None


def clear_asides(folder: Path, is_ours: Callable[[str], object]) -> None:
    """Remove from a folder what killed writers left; what is being written stays.

    Parameters
    ----------
    folder : pathlib.Path
        Where to look; folders in it are not looked into.
    is_ours : callable
        Says of a name whether its asides may go. Of a very long name it is given the beginning.
    """
    for entry in folder.iterdir():
        found = _ASIDE.fullmatch(entry.name)
        if found is not None and is_ours(found["name"]) and not entry.is_symlink():
            _remove_if_left(entry)


@contextmanager
def new_file(target: Path) -> Iterator[tuple[Path, int]]:
    """Make an aside for a file; at the end it goes, unless it was renamed.

    Yields
    ------
    pathlib.Path
        The aside, empty, with the permissions that a new file has here.
    int
        Its descriptor, for reading and writing, which holds the lock.
    """
    _clear(target.parent, target)
    with ExitStack() as stack:
        yield _claimed(target.parent, target, stack, is_folder=False)


@contextmanager
def new_folder(place: Path, target: Path) -> Iterator[Path]:
    """Make an aside for a folder; at the end it goes, with all that was not renamed.

    Parameters
    ----------
    place : pathlib.Path
        Folder to make it in.
    target : pathlib.Path
        What it will become.

    Yields
    ------
    pathlib.Path
        An empty folder in the aside.
    """
    for folder in {place, target.parent}:
        _clear(folder, target)
    with ExitStack() as stack:
        aside, _ = _claimed(place, target, stack, is_folder=True)
        content = aside / _CONTENT
        content.mkdir()
        yield content


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync_open(descriptor, path)
    finally:
        os.close(descriptor)


def sync_open(descriptor: int, path: Path) -> None:
    """Wait until an open file or folder is on disk; `path` is what it is called.

    Where a file system cannot do that, as some network and user-space ones, it is said once: what
    was written is whole, but may be lost with the machine's power. A full disk, or a failing one,
    is an error.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
        device = os.fstat(descriptor).st_dev
        if device not in _TOLD:
            _TOLD.add(device)
            places = path.absolute(), *path.absolute().parents
            seen = (p for p in places if p.is_dir() and not any(map(is_aside, p.parts)))
            text = f"cannot be synced to disk here ({error.strerror}): a power cut may lose it"
            print(f"note: {next(seen)}: what is written {text}", file=sys.stderr)  # noqa: T201


def sync_tree(folder: Path) -> None:
    """Sync everything in a folder, and the folder."""
    for entry in folder.iterdir():
        if entry.is_dir():
            sync_tree(entry)
        else:
            sync(entry)
    sync(folder)


def _shortened(name: str) -> str:
    # The limit counts bytes; a character that it cuts lives on as surrogates.
    return os.fsdecode(os.fsencode(name)[:_LONGEST])


def _clear(folder: Path, target: Path) -> None:
    clear_asides(folder, lambda name: name == _shortened(target.name))


def _claimed(place: Path, target: Path, stack: ExitStack, *, is_folder: bool) -> tuple[Path, int]:
    """Make an aside under a new name and lock it; at the stack's end it goes, then the lock."""
    while True:
        aside = place / f".{_shortened(target.name)}.{secrets.token_hex(8)}.part"
        try:
            if is_folder:
                aside.mkdir()
            descriptor = _locked(aside / _LOCK if is_folder else aside)
        except BaseException:
            _remove(aside)
            raise
        if descriptor is not None:
            # Called last to first: the aside is removed while its lock is still held.
            stack.callback(os.close, descriptor)
            stack.callback(_remove, aside)
            return aside, descriptor


def _locked(path: Path) -> int | None:
    """Make a file and lock it; None: before that, somebody took it for left behind."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileNotFoundError:
        if path.name != _LOCK:
            raise
        return None  # the folder, which was there, is cleared away
    try:
        # Between making and locking it, another writer may have locked and removed it.
        if _lock(descriptor) and _is_there(path, descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Without locks nobody can tell what is left behind, and nobody clears it away.
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _remove_if_left(aside: Path) -> None:
    try:
        # For writing, without which a network file system gives no exclusive lock (flock(2)).
        descriptor = os.open(aside / _LOCK if aside.is_dir() else aside, os.O_RDWR)
    except OSError:
        with suppress(OSError):  # whose lock is not there yet, or no longer, is empty
            aside.rmdir()
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(aside)
    except OSError:
        return  # in use, or nobody can tell
    finally:
        os.close(descriptor)


def _remove(aside: Path) -> None:
    """Remove an aside whose lock is held; where that fails it is left to the next writer."""
    with suppress(OSError):
        if aside.is_dir():
            if (aside / _CONTENT).exists():
                shutil.rmtree(aside / _CONTENT)
            (aside / _LOCK).unlink(missing_ok=True)  # last: what is left must be lockable
            aside.rmdir()
        else:
            aside.unlink(missing_ok=True)
