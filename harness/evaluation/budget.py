"""What an evaluation costs and how noisy it is. No TensorFlow.

K counts validation batches per arch, R recalibration batches, N the batches of the whole split.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.ranking import kendall_tau
from harness.streams import permutation

__all__ = [
    "Budget", "Cost", "Noise", "Point", "RecalEffect", "fit_cost", "k_grid", "noise_at",
    "recal_effect",
]  # fmt: skip

Scores = NDArray[np.float64]
_DRAWS = 100
"""Draws of K batches that tau is averaged over."""
_MOST_PAIRED = 500
"""Archs, evenly spaced over a larger pool, whose pairs are looked at."""


@dataclass(frozen=True)
class Point:
    """One timed evaluation: K, R and wall seconds."""

    batches: int
    recal: int
    seconds: float


@dataclass(frozen=True)
class Cost:
    """``seconds = fixed + per_batch * K + per_recal * R``, and how well it fits.

    Attributes
    ----------
    fixed, per_batch, per_recal : float
        a, b and c, s; none is negative.
    worst : float
        Largest residual, s.
    points : tuple of Point
        What was fitted.
    """

    fixed: float
    per_batch: float
    per_recal: float
    worst: float
    points: tuple[Point, ...]

    def seconds(self, batches: int, recal: int) -> float:
        """Return the predicted seconds of an evaluation of the pool."""
        return self.fixed + self.per_batch * batches + self.per_recal * recal

    def most_batches(self, limit: float, recal: int) -> int:
        """Return the largest K that fits a time limit, s; 0 if none does."""
        left = limit - self.fixed - self.per_recal * recal
        if left < 0:
            return 0
        # Batches that cost nothing fit in any number; the caller ends at the split.
        return int(left / self.per_batch) if self.per_batch > 0 else 10**9


def fit_cost(points: Sequence[Point]) -> Cost:
    """Fit the cost by non-negative least squares (Lawson and Hanson, 1974).

    Plain least squares may give a negative fixed cost where that is small against the noise,
    and then predict less than nothing.

    Raises
    ------
    ValueError
        If the points do not tell the three costs apart.
    """
    from scipy.optimize import nnls

    rows = np.array([[1.0, p.batches, p.recal] for p in points])
    if len(points) < 3 or np.linalg.matrix_rank(rows) < 3:
        found = [(p.batches, p.recal) for p in points]
        msg = f"three costs need points of several K and R, got (K, R) {found}"
        raise ValueError(msg)
    seconds = np.array([p.seconds for p in points])
    fixed, per_batch, per_recal = (float(v) for v in nnls(rows, seconds)[0])
    residuals = seconds - rows @ (fixed, per_batch, per_recal)
    worst = float(residuals[int(np.abs(residuals).argmax())])
    return Cost(fixed, per_batch, per_recal, worst, tuple(points))


@dataclass(frozen=True)
class Noise:
    """How far an evaluation on K batches may be from that on the whole split.

    Attributes
    ----------
    batches, samples : int
        K, and the samples in the first K batches.
    mean_epe : float
        Of the pool on the first K batches, px.
    standard_error : float or None
        Of that mean over batches, px; None from a split of one batch.
    pair_error : float or None
        Standard error of the difference of two archs, on the same batches, px: the median over
        pairs. Batches are hard for all archs alike, so that it is the smaller one.
    tau : float or None
        Kendall's tau-b of the ranking on the first K batches against the whole split's.
    tau_mean, tau_low : float or None
        Mean and 5 % quantile of the same over draws of K batches.
    reason : str or None
        Why a tau is undefined.
    """

    batches: int
    samples: int
    mean_epe: float
    standard_error: float | None
    pair_error: float | None
    tau: float | None
    tau_mean: float | None
    tau_low: float | None
    reason: str | None


def k_grid(whole: int) -> tuple[int, ...]:
    """Return the K that are looked at: 1, 2, 3, 4, 6, 8, 12, ... and the whole split."""
    powers = [2**i for i in range(whole.bit_length())]
    return tuple(sorted({k for p in powers for k in (p, 3 * p // 2) if 1 <= k < whole} | {whole}))


def noise_at(sums: Scores, sizes: Sequence[int], batches: int, *, seed: int) -> Noise:
    """Return the noise of K batches, from per-batch scores of the whole split.

    Parameters
    ----------
    sums : numpy.ndarray
        Shape (archs, N): sum of the EPE of each batch's samples, px.
    sizes : sequence of int
        Shape (N,): samples of each batch.
    batches : int
        K, from 1 to N.
    seed : int
        Of the draws.
    """
    weights = np.asarray(sizes, np.float64)
    whole = len(weights)
    chosen = [list(range(batches))]
    if batches < whole:
        chosen += [permutation(seed, "budget/draw", 0, i, n=whole)[:batches] for i in range(_DRAWS)]
    full = sums.sum(axis=1) / weights.sum()
    means = [sums[:, c].sum(axis=1) / weights[c].sum() for c in chosen]
    taus = [kendall_tau(scores.tolist(), full.tolist()) for scores in means]
    # With K = N there is one way to choose, and no draw.
    defined = [tau for tau, _ in taus[1:] or taus if tau is not None]
    # A mean over the defined ones alone would hide that a ranking was constant.
    complete = len(defined) == len(taus[1:] or taus)
    return Noise(
        batches, int(weights[:batches].sum()), float(means[0].mean()),
        *_errors(sums / weights, batches), taus[0][0],
        float(np.mean(defined)) if complete else None,
        float(np.quantile(defined, 0.05)) if complete else None,
        next((reason for _, reason in taus if reason is not None), None),
    )  # fmt: skip


def _errors(scores: Scores, batches: int) -> tuple[float | None, float | None]:
    """Return the standard errors of the pool's mean and of a difference of two archs."""
    archs, whole = scores.shape
    if whole < 2:
        return None, None
    pool = float(scores.mean(axis=0).std(ddof=1)) / math.sqrt(batches)
    some = scores[:: -(-archs // _MOST_PAIRED)]  # pairs of the whole space would fill the memory
    # Of a single arch np.cov gives a number.
    covariance = np.atleast_2d(np.cov(some))
    variance = np.diag(covariance)
    pairs = variance[:, None] + variance[None, :] - 2 * covariance
    upper = pairs[np.triu_indices(len(some), 1)]
    # Archs that score alike have a variance of 0, which rounding may put below it.
    pair = math.sqrt(max(0.0, float(np.median(upper))) / batches) if archs > 1 else None
    return pool, pair


@dataclass(frozen=True)
class RecalEffect:
    """How scores with R recalibration batches differ from those with the most measured.

    Attributes
    ----------
    recal, most : int
        The two sizes.
    mean_difference, worst_difference : float
        Of the pool's mean and of the arch that moves most, px.
    tau : float or None
        Kendall's tau-b of the two rankings.
    reason : str or None
        Why tau is undefined.
    """

    recal: int
    most: int
    mean_difference: float
    worst_difference: float
    tau: float | None
    reason: str | None


def recal_effect(scores: Mapping[int, Sequence[float]]) -> tuple[RecalEffect, ...]:
    """Compare per-arch EPE by number of recalibration batches, on the same validation batches."""
    most = max(scores)
    reference = np.asarray(scores[most])
    found = []
    for recal in sorted(scores):
        difference = np.asarray(scores[recal]) - reference
        tau, reason = kendall_tau(list(scores[recal]), list(scores[most]))
        worst = float(difference[int(np.abs(difference).argmax())])
        found.append(RecalEffect(recal, most, float(difference.mean()), worst, tau, reason))
    return tuple(found)


@dataclass(frozen=True)
class Budget:
    """What was measured of one pool.

    Attributes
    ----------
    pool : int
        Number of archs.
    weights : str
        What was measured with, in words.
    macs : mapping of str to int
        Of the whole split, counted in three ways.
    cost : Cost
    noise : tuple of Noise
        By ascending K, the last one of the whole split.
    recal : tuple of RecalEffect
        By ascending R, the last one the most measured.
    full : Point
        The whole split, timed.
    """

    pool: int
    weights: str
    macs: Mapping[str, int]
    cost: Cost
    noise: tuple[Noise, ...]
    recal: tuple[RecalEffect, ...]
    full: Point
