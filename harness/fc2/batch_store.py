"""Where fixed batches lie: in memory up to a budget, above it in memory-mapped files."""

import math
import mmap
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.fc2.batch import Batch
from harness.wording import quoted

__all__ = ["MIB", "BatchStore", "nbytes", "read_arrays", "write_arrays"]

MIB = 2**20
_ALIGNED = 64
"""Bytes; what TensorFlow wants of an array that it is to use without a copy."""

Layout = list[tuple[str, str, tuple[int, ...]]]
"""Name, dtype and shape of each array, in the order in which they lie."""

_ARRAYS = (("frames", "|u1", 4), ("flow", "<f4", 4), ("valid", "|b1", 3))
"""Name, dtype and number of sides of what a batch holds."""


class BatchStore:
    """Keeps fixed batches within a budget of memory.

    Batches take memory in the order in which they are kept; one that does not fit any more goes
    to an unlinked temporary file that is mapped, so that nothing is left behind however the
    process ends, and nobody can cut or change what lies there.

    Parameters
    ----------
    budget : int
        Bytes of frames, flow and validity that may lie in memory.
    folder : pathlib.Path, optional
        Where temporary files take their room, if it is there. Default: the system's place.
    """

    def __init__(self, budget: int, folder: Path | None = None) -> None:
        self._budget, self._folder = budget, folder
        self._resident: dict[str, int] = {}

    @property
    def resident(self) -> int:
        """Bytes in memory."""
        return sum(self._resident.values())

    def keep(self, batch: Batch) -> Batch:
        """Return the batch, in memory if it fits and otherwise mapped.

        Raises
        ------
        InputError
            If there is no room for the temporary file.
        """
        fits = self.resident + nbytes(batch) <= self._budget
        if fits or batch.digest in self._resident:
            self._resident[batch.digest] = nbytes(batch)
            return _loaded(batch)
        return batch if _is_mapped(batch.frames) else _spilled(batch, self._folder)

    def release(self, batches: Iterable[Batch]) -> None:
        """Free the memory that batches were counted for; nobody uses them any more."""
        for batch in batches:
            self._resident.pop(batch.digest, None)


def nbytes(batch: Batch) -> int:
    """Return the bytes of a batch's arrays."""
    return batch.frames.nbytes + batch.flow.nbytes + batch.valid.nbytes


def write_arrays(file: BinaryIO, batch: Batch) -> Layout:
    """Write a batch's arrays, each at a multiple of 64 bytes, and return how they lie."""
    layout: Layout = []
    for name in ("frames", "flow", "valid"):
        array: NDArray[Any] = np.ascontiguousarray(getattr(batch, name))
        file.write(bytes(-file.tell() % _ALIGNED))
        file.write(array.reshape(-1).view(np.uint8).data)
        layout.append((name, array.dtype.str, array.shape))
    return layout


def read_arrays(file: BinaryIO, layout: object, start: int) -> dict[str, NDArray[Any]]:
    """Read the arrays that :func:`write_arrays` wrote from `start` on.

    Not mapped: to touch a mapping of a file that somebody cuts ends the process.

    Parameters
    ----------
    layout : object
        As a header says it; held against the length of the file before memory is taken.

    Raises
    ------
    ValueError
        If it is no layout of a batch, or the file does not end where the arrays do.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype, shape, offset in _places(layout, start, file.seek(0, 2)):
        arrays[name] = np.empty(shape, dtype)
        file.seek(offset)
        content = arrays[name].reshape(-1).view(np.uint8)
        found = file.readinto(content.data)  # type: ignore[attr-defined]
        if found != content.size:
            msg = f"expected {content.size} bytes of {name}, found {found}: it is being cut"
            raise ValueError(msg)
    return arrays


def _places(
    layout: object, start: int, length: int
) -> list[tuple[str, "np.dtype[Any]", tuple[int, ...], int]]:
    """Return name, dtype, shape and offset of each array in a file of so many bytes."""
    places, position = [], start
    if not isinstance(layout, Sequence) or len(layout) != len(_ARRAYS):
        msg = f"expected a layout of frames, flow and valid, found {quoted(layout)}"
        raise ValueError(msg)
    for described, (name, dtype, sides) in zip(layout, _ARRAYS, strict=True):
        shape = _shape(described, name, dtype, sides)
        position += -position % _ALIGNED
        places.append((name, np.dtype(dtype), shape, position))
        position += np.dtype(dtype).itemsize * math.prod(shape)
    if length != position:
        msg = f"expected {position} bytes, found {length}"
        raise ValueError(msg)
    return places


def _shape(described: object, name: str, dtype: str, sides: int) -> tuple[int, ...]:
    """Return the shape of one array of a layout."""
    match described:
        case [str(found), str(kind), [*shape]] if (found, kind, len(shape)) == (name, dtype, sides):
            whole = [side for side in shape if isinstance(side, int) and side >= 0]
            # True is an instance of int.
            if len(whole) == sides and bool not in map(type, whole):
                return tuple(whole)
    msg = f"expected {name} of type {dtype} and {sides} sides, found {quoted(described)}"
    raise ValueError(msg)


def _map_arrays(file: BinaryIO, batch: Batch, layout: Layout) -> dict[str, NDArray[Any]]:
    """Map the arrays of a batch from a file that has no name; nobody else can cut it."""
    places = _places(layout, 0, file.seek(0, 2))
    # Stays valid when the file is closed.
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return {
        name: np.frombuffer(mapping, dtype, getattr(batch, name).size, offset).reshape(shape)
        for name, dtype, shape, offset in places
    }


def _is_mapped(array: NDArray[Any]) -> bool:
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    # Between array and mapping may lie a memoryview, whose `obj` is the mapping.
    return isinstance(base, mmap.mmap) or isinstance(getattr(base, "obj", None), mmap.mmap)


def _with(batch: Batch, arrays: dict[str, NDArray[Any]]) -> Batch:
    return Batch(batch.ids, batch.windows, **arrays, flow_clip=batch.flow_clip, digest=batch.digest)


def _loaded(batch: Batch) -> Batch:
    if not _is_mapped(batch.frames):
        return batch
    return _with(batch, {n: np.array(getattr(batch, n)) for n in ("frames", "flow", "valid")})


def _spilled(batch: Batch, folder: Path | None) -> Batch:
    place = folder if folder is not None and folder.is_dir() else Path(tempfile.gettempdir())
    try:
        with tempfile.TemporaryFile(prefix="samebits-", dir=place) as file:
            layout = write_arrays(file, batch)
            # A mapping does not see what is still in the file's buffer.
            file.flush()
            return _with(batch, _map_arrays(file, batch, layout))
    except OSError as error:
        msg = (
            f"{place}: no room for batches beyond runtime.cache_mib: {error}; "
            "raise runtime.cache_mib, name a runtime.cache_dir, or set TMPDIR"
        )
        raise InputError(msg) from error
