"""Which elements of an array an option runs: all of it, or a slice of a kernel that is shared."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.archs import array_of, slices_of
from harness.promises.states import require_named
from harness.systems.protocol import Arrays

__all__ = ["Parts", "arrays_of", "own_parts", "parts_of", "put", "unshared"]

Parts = Mapping[str, NDArray[np.bool_]]
"""Array to the elements that are meant, where there are any."""


def arrays_of(entries: Iterable[str]) -> list[str]:
    """Return the arrays that entries of an option name, each once."""
    return list(dict.fromkeys(map(array_of, entries)))


def parts_of(entries: Iterable[str], state: Arrays) -> dict[str, NDArray[np.bool_]]:
    """Return the elements that entries of options name, by array.

    Raises
    ------
    ValueError
        If an array is not there, has fewer axes than slices, or nothing in them.
    """
    found: dict[str, NDArray[np.bool_]] = {}
    entries = list(entries)
    require_named(state, map(array_of, entries), "describe().options")
    for entry in entries:
        name, cuts = array_of(entry), slices_of(entry)
        shape = np.shape(state[name])
        if len(cuts) > len(shape):
            msg = f"describe().options names {entry}, {name} has {len(shape)} axes: {shape}"
            raise ValueError(msg)
        mask = found.setdefault(name, np.zeros(shape, bool))
        if not mask[cuts].size:
            msg = f"describe().options names {entry}, which is no element of {name}: {shape}"
            raise ValueError(msg)
        mask[cuts] = True
    return found


def unshared(mine: Parts, others: Iterable[Parts]) -> dict[str, NDArray[np.bool_]]:
    """Return the elements that are not among others too."""
    left = {name: mask.copy() for name, mask in mine.items()}
    for other in others:
        for name in left.keys() & other.keys():
            left[name] &= ~other[name]
    return {name: mask for name, mask in left.items() if mask.any()}


def own_parts(parts: Parts, others: Iterable[Parts]) -> dict[str, NDArray[np.bool_]]:
    """Return the elements that no other names; all of them where others name each."""
    return unshared(parts, others) or dict(parts)


def put(array: NDArray[Any], mask: NDArray[np.bool_], values: Any) -> NDArray[Any]:
    """Return a copy of an array with other values in some elements."""
    return np.where(mask, np.asarray(values, array.dtype), array)
