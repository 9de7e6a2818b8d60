"""Where fixed batches lie: in memory up to a budget, above it in memory-mapped files."""

import mmap
import tempfile
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.fc2.batch import Batch

__all__ = ["MIB", "BatchStore", "map_arrays", "nbytes", "write_arrays"]

MIB = 2**20
_ALIGNED = 64
"""Bytes; what TensorFlow wants of an array that it is to use without a copy."""

Layout = list[tuple[str, str, tuple[int, ...]]]
"""Name, dtype and shape of each array, in the order in which they lie."""


class BatchStore:
    """Keeps fixed batches within a budget of memory.

    Batches take memory in the order in which they are kept; one that does not fit any more goes
    to an unlinked temporary file that is mapped, so that nothing is left behind however the
    process ends.

    Parameters
    ----------
    budget : int
        Bytes of frames, flow and validity that may lie in memory.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
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
        return batch if _is_mapped(batch.frames) else _spilled(batch)

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


def map_arrays(file: BinaryIO, layout: Layout, start: int) -> dict[str, NDArray[Any]]:
    """Map the arrays that :func:`write_arrays` wrote from `start` on; they are read-only.

    Raises
    ------
    ValueError
        If the file does not end where the arrays do.
    """
    places, position = [], start
    for name, dtype, shape in layout:
        position += -position % _ALIGNED
        places.append((name, np.dtype(dtype), tuple(shape), position))
        position += np.dtype(dtype).itemsize * int(np.prod(shape))
    size = file.seek(0, 2)
    if size != position:
        msg = f"expected {position} bytes, found {size}"
        raise ValueError(msg)
    # Stays valid when the file is closed, and after a temporary one has lost its name.
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return {
        name: np.frombuffer(mapping, dtype, int(np.prod(shape)), offset).reshape(shape)
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


def _spilled(batch: Batch) -> Batch:
    try:
        with tempfile.TemporaryFile(prefix="samebits-") as file:
            layout = write_arrays(file, batch)
            # A mapping does not see what is still in the file's buffer.
            file.flush()
            return _with(batch, map_arrays(file, layout, 0))
    except OSError as error:
        msg = (
            f"{tempfile.gettempdir()}: no room for batches beyond runtime.cache_mib: {error}; "
            "raise runtime.cache_mib, name a runtime.cache_dir, or set TMPDIR"
        )
        raise InputError(msg) from error
