"""Randomness as a function of (seed, stream name, epoch, index).

Nothing here keeps a state. Resuming a run therefore needs counters, not generator
states, and a worker count cannot change a result. Draws are made from the raw 64-bit
output of Philox 4x64 (Salmon et al., SC 2011), whose values NumPy promises to keep;
the distributions of ``numpy.random.Generator`` may change between NumPy versions.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["choice_with_replacement", "integer", "permutation", "raw", "uniform"]


def raw(
    seed: int, stream: str, epoch: int = 0, index: int = 0, *, size: int = 1
) -> NDArray[np.uint64]:
    """Return ``size`` uniform 64-bit integers of one named stream.

    Parameters
    ----------
    seed, epoch, index : int
        Non-negative counters that select the draw.
    stream : str
        Name of the purpose, such as ``"train/crop"``. Streams are independent.
    size : int, default 1
        How many values.

    Returns
    -------
    numpy.ndarray
        Shape ``(size,)``, dtype uint64.

    Raises
    ------
    ValueError
        If a counter is negative.
    """
    for name, value in (("seed", seed), ("epoch", epoch), ("index", index), ("size", size)):
        if value < 0:
            msg = f"`{name}` must be non-negative, got {value}"
            raise ValueError(msg)
    # Python's hash() of a string is another in each process.
    word = int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=8).digest(), "little")
    sequence = np.random.SeedSequence([seed, word, epoch, index])
    values = np.random.Philox(sequence).random_raw(size)
    return np.asarray(values, dtype=np.uint64)


def integer(seed: int, stream: str, epoch: int, index: int, *, below: Sequence[int]) -> list[int]:
    """Draw one integer in ``[0, b)`` for every bound ``b`` in `below`.

    The modulo's bias is below 2**-50 for bounds under 16,384 and is accepted for the
    sake of a draw that is one line and never rejects.

    Raises
    ------
    ValueError
        If a bound is not positive.
    """
    if any(bound < 1 for bound in below):
        msg = f"every bound must be at least 1, got {list(below)}"
        raise ValueError(msg)
    values = raw(seed, stream, epoch, index, size=len(below))
    return [int(value) % bound for value, bound in zip(values, below, strict=True)]


def permutation(seed: int, stream: str, epoch: int, index: int = 0, *, n: int) -> list[int]:
    """Return a permutation of ``range(n)``: the ranks of n 64-bit draws."""
    # Stable, so that equal draws have one order whatever algorithm NumPy sorts by.
    order = np.argsort(raw(seed, stream, epoch, index, size=n), kind="stable")
    return [int(i) for i in order]


def choice_with_replacement(seed: int, stream: str, epoch: int, *, n: int, size: int) -> list[int]:
    """Draw `size` indices from ``range(n)``, independent of one another."""
    if n < 1:
        msg = f"cannot draw from {n} items"
        raise ValueError(msg)
    return [int(value) % n for value in raw(seed, stream, epoch, size=size)]


def uniform(seed: int, stream: str, *, size: int) -> NDArray[np.float64]:
    """Return `size` numbers uniform in [0, 1) with 53 random bits each."""
    bits = raw(seed, stream, size=size) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53
