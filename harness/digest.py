"""Digests of arrays, states and batches.

One rule everywhere: BLAKE2b with 128 bits, in hex, over length-prefixed fields. An
array contributes its name, dtype, shape and little-endian C-order bytes, so two arrays
that differ in dtype or shape alone have different digests.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.devices import open_regular

__all__ = ["digest_arrays", "digest_bytes", "digest_file", "digest_strings", "state_digests"]

_SIZE = 16
_PIECE = 2**20
"""Bytes of a file that are read at once."""


class _Hasher:
    """BLAKE2b over length-prefixed fields, so that no two field lists collide."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=_SIZE)

    def add(self, field: bytes | memoryview) -> None:
        size = field.nbytes if isinstance(field, memoryview) else len(field)
        self._hash.update(size.to_bytes(8, "little"))
        self._hash.update(field)

    def hex(self) -> str:
        return self._hash.hexdigest()


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little)


def digest_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the digest of named arrays, in the order of their names.

    Parameters
    ----------
    arrays : mapping of str to numpy.ndarray
        Any shapes and any dtype but object.

    Raises
    ------
    TypeError
        If an array holds Python objects, whose bytes mean nothing.
    """
    hasher = _Hasher()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        if array.dtype.hasobject:
            msg = f"array {name!r} has dtype object, expected numbers or fixed-width strings"
            raise TypeError(msg)
        little = _little_endian(array)
        hasher.add(name.encode())
        hasher.add(little.dtype.str.encode())
        # Not of `little`: np.ascontiguousarray makes an array of shape (1,) of a scalar.
        hasher.add(repr(array.shape).encode())
        hasher.add(little.reshape(-1).view(np.uint8).data)
    return hasher.hex()


def state_digests(state: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of every array of a state, by its name."""
    return {name: digest_arrays({name: array}) for name, array in state.items()}


def digest_strings(fields: Iterable[str]) -> str:
    """Return the digest of a sequence of strings; order and grouping matter."""
    hasher = _Hasher()
    for field in fields:
        hasher.add(field.encode())
    return hasher.hex()


def digest_bytes(*blobs: bytes) -> str:
    """Return the digest of byte strings; order and grouping matter."""
    hasher = _Hasher()
    for blob in blobs:
        hasher.add(blob)
    return hasher.hex()


def digest_file(path: Path) -> str:
    """Return the digest of a file's whole content, as :func:`digest_bytes`; in little memory.

    Raises
    ------
    OSError
        If it cannot be read, is no file, or another length than it had when it was opened.
    """
    with open_regular(path) as file:
        length, found = os.fstat(file.fileno()).st_size, 0
        digest = hashlib.blake2b(length.to_bytes(8, "little"), digest_size=_SIZE)
        while piece := file.read(_PIECE):
            digest.update(piece)
            found += len(piece)
    if found != length:
        raise OSError(errno.EIO, f"changed from {length} to {found} bytes while read", str(path))
    return digest.hexdigest()
