"""BN recalibration: population statistics of named batches, as values.

Each batch is normalised by its own statistics on the way; a layer's mean and variance are
pooled over all its inputs in those batches. The result depends on weights, arch and
batches alone, not on what the moving statistics were before; and nothing is assigned to
the trained model.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.digest import digest_arrays
from harness.supernet.space import format_arch

__all__ = [
    "BatchStatistics",
    "NonFiniteScoreError",
    "PooledStatistics",
    "pool_statistics",
    "stats_digest",
]

Statistics = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
BatchStatistics = Statistics
PooledStatistics = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]


class NonFiniteScoreError(FloatingPointError):
    """A recalibrated statistic or a score is NaN or infinite; names arch and place."""


def pool_statistics(batches: Sequence[Statistics], sizes: Sequence[int]) -> PooledStatistics:
    """Pool per-batch means and variances into those of all inputs together.

    ``mean = sum(n_b * m_b) / N`` and ``variance = sum(n_b * (v_b + (m_b - mean)**2)) / N``
    (the law of total variance), in float64; the variance is divided by N.

    Parameters
    ----------
    batches : sequence of mapping
        For each batch, unit name to (mean, variance) of shape (channels,).
    sizes : sequence of int
        Samples of each batch; all samples have the same number of pixels.

    Returns
    -------
    dict
        Unit name to (mean, variance), float32.

    Raises
    ------
    ValueError
        If there is no batch, or the two lists differ in length.
    """
    if not batches or len(batches) != len(sizes):
        msg = f"expected as many sizes as batches, at least one; got {len(sizes)}, {len(batches)}"
        raise ValueError(msg)
    shares = np.asarray(sizes, np.float64) / sum(sizes)
    pooled: PooledStatistics = {}
    for unit in batches[0]:
        means = np.stack([np.asarray(b[unit][0], np.float64) for b in batches])
        variances = np.stack([np.asarray(b[unit][1], np.float64) for b in batches])
        mean = shares @ means
        variance = shares @ (variances + (means - mean) ** 2)
        pooled[unit] = mean.astype(np.float32), variance.astype(np.float32)
    return pooled


def stats_digest(stats: Mapping[tuple[int, ...], PooledStatistics]) -> str:
    """Return the digest of all statistics; a mapping that archs share counts once."""
    arrays: dict[str, NDArray[Any]] = {}
    # Backwards, so that of archs with one mapping the first names it.
    distinct = {id(given): (arch, given) for arch, given in reversed(list(stats.items()))}
    for arch, given in distinct.values():
        for unit, (mean, variance) in given.items():
            name = f"{format_arch(arch)}/{unit}"
            arrays |= {f"{name}/mean": mean, f"{name}/variance": variance}
    return digest_arrays(arrays)
