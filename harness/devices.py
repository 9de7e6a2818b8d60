"""What has a name and is no file: pipes, terminals, devices, and standard output in any case."""

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "SpecialFileError",
    "check_stream",
    "is_stream",
    "kind_of",
    "open_regular",
    "open_stream",
    "read_regular",
]

_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


class SpecialFileError(OSError):
    """Something that was to be read has a file's name and is none; the message says what it is.

    Attributes
    ----------
    kind : str
        As :func:`kind_of`.
    """

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(errno.EINVAL, f"is {kind}, expected a file", str(path))
        self.kind = kind

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.filename}: {self.strerror}"


def kind_of(mode: int) -> str:
    """Return what a mode of ``stat`` is of where it is no file: ``a pipe``; a file's is empty."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, and nothing else: a pipe of its name would be waited for.

    Raises
    ------
    SpecialFileError
        If it is a folder, a pipe, a socket or a device.
    OSError
        If it cannot be opened.
    """
    # Asked before it is opened: to open some devices does something.
    _require_file(path, path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # And again: another may have taken the name since.
        _require_file(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path) -> bytes:
    """Read a whole file once, as :func:`open_regular` opens it.

    Raises
    ------
    OSError
        As :func:`open_regular`, or if it cannot be read.
    """
    with open_regular(path) as file:
        try:
            return file.read()
        except OSError as error:
            # What a failing disk answers has no name in it.
            error.filename = str(path)
            raise


def _require_file(path: Path, mode: int) -> None:
    kind = kind_of(mode)
    if kind:
        raise SpecialFileError(path, kind)


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


def check_stream(path: Path) -> None:
    """Refuse a stream that takes nothing; what is on the other end is not asked.

    Raises
    ------
    OSError
        If its descriptor is closed, or open for reading alone.
    """
    descriptor = _descriptor(path)
    if descriptor is None:
        return
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "is open for reading alone", str(path))


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
