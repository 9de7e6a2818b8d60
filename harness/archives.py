"""Arrays in an uncompressed ``.npz`` file, of which nothing is believed before it was looked at.

Names are compared before any array is read, and every size that the archive's directory or an
array's header claims is held against the length of the file: reading takes the memory that the
arrays take, at most the length of the file, whatever the file says.
"""

import math
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from harness.devices import open_regular
from harness.errors import InputError, plain_line
from harness.wording import counted, quoted

__all__ = ["Archive", "ArchiveError", "OtherNamesError", "open_archive"]

_SUFFIX = ".npy"
_ENTRY = 46
"""Bytes of an entry of the directory, without its name."""
_KINDS = "biufc"
"""Kinds of numbers, and booleans: objects run code, text and records have no use here."""
_SHOWN = 5
_PART = 2**16
_LENGTH_OF_HEADER = {(1, 0): 2, (2, 0): 4}
"""Bytes that hold the length of an array's header, by its version."""


class ArchiveError(ValueError):
    """A file is no archive of arrays, or says of itself what is not so; without its name."""


class OtherNamesError(ArchiveError):
    """An archive lacks an array, or holds one more than it should."""


class Archive:
    """An open archive whose directory was looked at; see :func:`open_archive`.

    Attributes
    ----------
    names : frozenset of str
        Of the arrays in it.
    """

    def __init__(self, file: BinaryIO) -> None:
        length = os.fstat(file.fileno()).st_size
        # Each entry of the directory becomes an object before it can be looked at.
        claimed, most = _directory_bytes(file, length), _ENTRY + length // 8 + 2**20
        if claimed > most:
            raise ArchiveError(
                f"a directory of {counted(claimed, 'byte')}, expected at most {most} of {length}"
            )
        self._zip = zipfile.ZipFile(file)
        entries = self._zip.infolist()
        taken = sum(entry.compress_size for entry in entries)
        if taken > length:
            raise ArchiveError(f"{counted(taken, 'byte')} of arrays in {length} bytes")
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            _require_stored(entry)
            name = entry.filename.removesuffix(_SUFFIX)
            if name in self._entries:
                raise ArchiveError(f"two arrays of the name {quoted(name)}")
            self._entries[name] = entry
        self.names = frozenset(self._entries)

    def require_names(self, names: Iterable[str], whose: str) -> None:
        """Require the archive to hold these arrays and no other, before any is read.

        Raises
        ------
        OtherNamesError
            If it lacks one, or has another; says which, and `whose` names they are.
        """
        odd = sorted(self.names ^ set(names))
        if odd:
            shown = ", ".join(quoted(name)[1:-1] for name in odd[:_SHOWN])
            more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
            raise OtherNamesError(f"arrays and {whose} disagree on {shown}{more}")

    def read(self, name: str) -> NDArray[Any]:
        """Read one array.

        Raises
        ------
        KeyError
            If there is none of that name.
        ArchiveError
            If its header claims another size than it has, or something else than numbers.
        """
        entry = self._entries[name]
        with self._zip.open(entry) as member:
            shape, fortran, dtype = _array_header(member)
            if dtype.kind not in _KINDS or dtype.itemsize == 0:
                raise ArchiveError(f"{name}: type {quoted(dtype.str)}, expected numbers")
            wanted = member.tell() + math.prod(shape) * dtype.itemsize
            if min(shape, default=0) < 0 or wanted != entry.file_size:
                raise ArchiveError(
                    f"{name}: a header of {dtype} {quoted(shape)}, found {entry.file_size} bytes"
                )
            found: NDArray[Any] = np.empty(shape, dtype, order="F" if fortran else "C")
            _fill(found.reshape(-1, order="A").view(np.uint8), member)
            # The checksum is compared at the end alone.
            if member.read(1):
                raise ArchiveError(f"{name}: more bytes than its header says")
        return found


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an archive that :func:`numpy.savez` wrote.

    Raises
    ------
    ArchiveError
        If it is damaged, compressed, encrypted, or larger inside than outside; also for whatever
        the body finds damaged in it.
    MemoryError
        If there is none for its arrays; names the file.
    OSError
        If it cannot be read, or is no file.
    """
    try:
        with open_regular(path) as file:
            yield Archive(file)
    except (ArchiveError, InputError, OSError):  # what the body refuses for its own reasons, too
        raise
    except MemoryError:
        msg = f"{path}: no memory for its arrays, of {path.stat().st_size} bytes"
        raise MemoryError(msg) from None
    # Damage shows wherever it leads: in zipfile or in NumPy.
    except (ValueError, KeyError, TypeError, EOFError, ArithmeticError, RuntimeError,
            zipfile.BadZipFile) as error:  # fmt: skip
        raise ArchiveError(str(error) or type(error).__name__) from error


def _directory_bytes(file: BinaryIO, length: int) -> int:
    """Return the bytes that an archive's directory claims; 0 where none is found."""
    size = 2**16 + 22 + 20
    file.seek(max(0, length - size))
    tail = file.read(size)
    file.seek(0)
    at = tail.rfind(b"PK\5\6")
    if at < 0:
        return 0
    claimed = int.from_bytes(tail[at + 12 : at + 16], "little")
    if tail[max(0, at - 20) : at].startswith(b"PK\6\7"):  # a larger record lies before it
        file.seek(min(int.from_bytes(tail[at - 12 : at - 4], "little") + 40, length))
        claimed = max(claimed, int.from_bytes(file.read(8), "little"))
        file.seek(0)
    return claimed


def _require_stored(entry: zipfile.ZipInfo) -> None:
    name = quoted(entry.filename)
    if not entry.filename.endswith(_SUFFIX):
        raise ArchiveError(f"{name} in it, expected arrays (*{_SUFFIX})")
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise ArchiveError(f"{name} in it is compressed; expected it as numpy.savez writes")
    if entry.flag_bits & 1:
        raise ArchiveError(f"{name} in it is encrypted")


def _fill(content: NDArray[np.uint8], member: IO[bytes]) -> None:
    """Fill bytes from a file, a part at a time: beside an array lies no second one."""
    view, at = content.data, 0
    while at < len(view):
        part = member.read(min(_PART, len(view) - at))
        if not part:
            raise ArchiveError(f"an array that ends after {at} of {len(view)} bytes")
        view[at : at + len(part)] = part
        at += len(part)


def _array_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    """Return shape, Fortran order and dtype that an array's header claims."""
    version = npy.read_magic(member)
    if version not in _LENGTH_OF_HEADER:
        raise ArchiveError(f"an array of format {version}, expected 1.0 or 2.0")
    length = member.read(_LENGTH_OF_HEADER[version])
    header = length + member.read(int.from_bytes(length, "little"))
    try:
        return _parsed_header(version, header)
    # Python's own parser gives up in many ways, of which lack of memory is one.
    except Exception as error:
        raise ArchiveError(
            f"an array's header that does not parse: {plain_line(str(error))}"
        ) from error


@lru_cache(maxsize=512)
def _parsed_header(
    version: tuple[int, int], header: bytes
) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    """Parse a header; a checkpoint has hundreds of arrays, and few different ones."""
    reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = reader(BytesIO(header))
    return shape, fortran, dtype
