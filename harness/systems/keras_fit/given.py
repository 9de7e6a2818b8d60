"""What a Keras trainer gives to ``fit`` and to its evaluation: batches, and samples of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

__all__ = ["Asked", "batches_of", "digest", "plain", "samples_of", "tell", "zero_epe"]


class Asked(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches for one call of ``fit``, which takes its first look at them before it begins."""

    def __init__(self, batches: Sequence[Any]) -> None:
        super().__init__()
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Any:
        return self._batches[index]


def batches_of(data: Any, call: str) -> list[Any]:
    """Return every batch of a data set: of a list, a ``PyDataset``, or what is iterated.

    Parameters
    ----------
    call : str
        Which has given it, for the message.

    Raises
    ------
    ValueError
        If it repeats without end, or a batch is a lone array.
    """
    count = getattr(data, "cardinality", None)
    if callable(count) and int(count()) == _INFINITE:
        msg = f"{call} repeats without end, expected the batches of one epoch: add .take(steps)"
        raise ValueError(msg)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return [_batch(data[place], call) for place in range(len(data))]
    return [_batch(batch, call) for batch in data]


def tell(data: Any, border: str) -> None:
    """Tell a data set where a pass begins or ends, if it wants to know, as a ``PyDataset`` may."""
    call = getattr(data, border, None)
    if call is not None:
        call()


_INFINITE = -1
"""What ``tf.data.Dataset.cardinality()`` is of a data set that repeats."""


def _batch(batch: Any, call: str) -> Any:
    if isinstance(batch, Mapping):  # of a train_step that takes what it is given apart
        return batch
    if isinstance(batch, (tuple, list)):
        return tuple(batch)
    msg = f"{call} gives a batch that is a {type(batch).__name__}, expected (x, y): give a tuple"
    raise ValueError(msg)


def samples_of(batch: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the samples of a batch, each as a batch of one; x may be several arrays."""
    if isinstance(batch, Mapping) or len(batch) < 2:
        found = sorted(batch) if isinstance(batch, Mapping) else f"{len(batch)} part"
        msg = f"a batch of validation() has {found}, expected (x, y) or (x, y, weight): give both"
        raise ValueError(msg)
    size = len(keras.tree.flatten(batch)[0])
    return [
        tuple(keras.tree.map_structure(lambda a, i=i: plain(a)[i : i + 1], part) for part in batch)
        for i in range(size)
    ]


def plain(array: Any) -> Any:
    """Return an array of NumPy's, of a tensor or a variable."""
    if keras.backend.backend() == "torch":  # of which one that has a gradient is refused
        return keras.ops.convert_to_numpy(array)
    return np.asarray(array)


def zero_epe(flow: Any, known: Any) -> float:
    """Return the mean length of the known flow, px: the EPE of the all-zero one."""
    return float(np.sqrt((np.asarray(flow, np.float64) ** 2).sum(axis=-1))[known].mean())


def digest(batch: Any) -> str:
    """Return a digest of the arrays of a batch, in order."""
    made = hashlib.blake2b(digest_size=16)
    for array in keras.tree.flatten(batch):
        found = np.ascontiguousarray(plain(array))
        made.update(f"{found.dtype}{found.shape}".encode() + found.tobytes())
    return made.hexdigest()
