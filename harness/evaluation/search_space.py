"""What scores of archs say about the search space: fronts, effects of options, stability.

No TensorFlow. All of it follows from scores that are there; nothing is scored here.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.budget import k_grid
from harness.evaluation.ranking import kendall_tau
from harness.supernet.space import NUM_BLOCKS, NUM_OPTIONS

__all__ = [
    "ESTIMATOR", "SPACE_SIZE", "Effect", "Effects", "Stability", "main_effects", "pareto_front",
    "stability_by_batches",
]  # fmt: skip

Floats = NDArray[np.float64]
SPACE_SIZE: int = NUM_OPTIONS**NUM_BLOCKS
_COEFFICIENTS = 1 + NUM_BLOCKS * (NUM_OPTIONS - 1)

ESTIMATOR = (
    "Main effects: least squares of EPE on the options of all blocks, coded so that the effects of "
    "a block sum to zero. Over the whole space, a complete factorial design, that is the mean over "
    "all archs with an option less the mean over all archs, exactly; its share of the variance is "
    "that of functional ANOVA (Hutter, Hoos and Leyton-Brown, 2014)"
)
"""What the effects are, in words for people."""


def pareto_front(costs: Sequence[int] | NDArray[np.int64], scores: Sequence[float]) -> list[bool]:
    """Return for each arch whether none is at least as cheap and as good, and better in one.

    Archs that are equal in both are on the front together.

    Parameters
    ----------
    costs : sequence of int
        Shape (archs,): what running each takes.
    scores : sequence of float
        Shape (archs,): EPE, px; smaller is better.

    Raises
    ------
    ValueError
        If they differ in number, or a score is not finite.
    """
    cost, score = np.asarray(costs), np.asarray(scores, np.float64)
    if cost.shape != score.shape or not np.isfinite(score).all():
        msg = f"a front needs as many costs as finite scores, got {cost.shape} and {score.shape}"
        raise ValueError(msg)
    if not cost.size:
        return []
    values, group = np.unique(cost, return_inverse=True)
    best = np.full(len(values), np.inf)
    np.minimum.at(best, group, score)
    cheaper = np.concatenate([[np.inf], np.minimum.accumulate(best)[:-1]])
    found: list[bool] = ((score == best[group]) & (score < cheaper[group])).tolist()
    return found


@dataclass(frozen=True)
class Effect:
    """What one option of one block does to EPE, all else averaged.

    Attributes
    ----------
    block, option : int
        Position in the arch code, and the digit there.
    archs : int
        Scored archs that have it.
    effect : float
        EPE with it, less the mean over all options, px; below 0 is better.
    over_archs : float or None
        Standard error, px, for that other archs might have been scored: of least squares, with
        the correction for a finite population of 19,683. 0 where all were scored; None where as
        many coefficients as archs leave no residual.
    over_samples : float or None
        Standard error, px, for that other samples might have been scored: of the mean of the
        effects on each sample. None where scores of single samples are not there, or only one.
    """

    block: int
    option: int
    archs: int
    effect: float
    over_archs: float | None
    over_samples: float | None


@dataclass(frozen=True)
class Effects:
    """The effects of all options of all blocks, or why the scores do not tell them.

    Attributes
    ----------
    effects : tuple of Effect
        27, by block and option; none where there is a reason.
    shares : tuple of float
        By block, the share of the variance of EPE over archs that its main effect makes up;
        of the whole space only, and none where all archs score alike.
    reason : str or None
        Why there are none.
    """

    effects: tuple[Effect, ...]
    shares: tuple[float, ...]
    reason: str | None = None

    @property
    def blocks(self) -> Iterator[tuple[Effect, ...]]:
        """Yield the effects of each block's options."""
        for start, end in pairwise(range(0, len(self.effects) + 1, NUM_OPTIONS)):
            yield self.effects[start:end]


def main_effects(archs: Sequence[Sequence[int]], scores: Floats) -> Effects:
    """Estimate what each option of each block does to EPE.

    The estimator is :data:`ESTIMATOR`. A pool of which every arch has a chance leaves out
    interactions of blocks, which its standard error over archs counts as noise.

    Parameters
    ----------
    archs : sequence of arch code
        Each once.
    scores : numpy.ndarray
        Shape (archs,), EPE, or (archs, samples), that of each sample, px.

    Raises
    ------
    ValueError
        If they differ in number, an arch is there twice, or a score is not finite.
    """
    codes = np.array([tuple(arch) for arch in archs], np.int64).reshape(-1, NUM_BLOCKS)
    each = scores[:, None] if scores.ndim == 1 else scores
    if len(each) != len(codes) or not np.isfinite(each).all():
        msg = f"effects need a finite score of each arch, got {each.shape} for {len(codes)} archs"
        raise ValueError(msg)
    if len(np.unique(codes, axis=0)) != len(codes):
        msg = f"effects need each arch once, got {len(codes)} with some twice"
        raise ValueError(msg)
    design = _design(codes)
    reason = _unidentified(design)
    if reason is not None:
        return Effects((), (), reason)
    # Effects are differences. Of archs that score alike nothing but rounding would be left, and its
    # share of the variance: nothing at all once one of them is taken off.
    each = each - each[:1]
    inverse = np.linalg.inv(design.T @ design).astype(np.float64)
    contrasts = _contrasts()
    by_sample = contrasts @ (inverse @ (design.T @ each))
    mean: Floats = each.mean(axis=1)
    values = by_sample.mean(axis=1)
    over_archs = _over_archs(design, inverse, contrasts, mean)
    over_samples = _over_samples(by_sample) if scores.ndim > 1 else None
    counts = np.array([(codes[:, b] == o).sum() for b, o in _options()])
    effects = tuple(
        Effect(
            block, option, int(counts[i]), float(values[i]),
            None if over_archs is None else float(over_archs[i]),
            None if over_samples is None else float(over_samples[i]),
        )
        for i, (block, option) in enumerate(_options())
    )  # fmt: skip
    return Effects(effects, _shares(values, mean))


def _options() -> Iterator[tuple[int, int]]:
    return ((block, option) for block in range(NUM_BLOCKS) for option in range(NUM_OPTIONS))


def _design(codes: NDArray[np.int64]) -> Floats:
    """Return the design matrix, (archs, 19): 1, and of each block options 0 and 1, coded."""
    last = NUM_OPTIONS - 1
    parts = [np.ones((len(codes), 1))]
    for block in range(NUM_BLOCKS):
        own = codes[:, block, None]
        coded = (own == np.arange(last)) * 1.0
        parts.append(np.where(own == last, -1.0, coded))
    return np.hstack(parts)


def _contrasts() -> Floats:
    """Return what makes the 27 effects of the 19 coefficients, (27, 19)."""
    found = np.zeros((NUM_BLOCKS * NUM_OPTIONS, _COEFFICIENTS))
    last = NUM_OPTIONS - 1
    for row, (block, option) in enumerate(_options()):
        first = 1 + block * last
        if option == last:
            found[row, first : first + last] = -1.0
        else:
            found[row, first + option] = 1.0
    return found


def _unidentified(design: Floats) -> str | None:
    archs = len(design)
    rank = 0 if archs == 0 else int(np.linalg.matrix_rank(design))
    if rank == _COEFFICIENTS:
        return None
    return (
        f"{archs} archs cannot tell the effects of {NUM_BLOCKS} blocks apart, which have "
        f"{_COEFFICIENTS} coefficients (rank {rank}); score more archs"
    )


def _over_archs(design: Floats, inverse: Floats, contrasts: Floats, mean: Floats) -> Floats | None:
    archs = len(design)
    if archs == SPACE_SIZE:
        return np.zeros(len(contrasts))
    freedom = archs - _COEFFICIENTS
    if freedom == 0:
        return None
    residual = mean - design @ (inverse @ (design.T @ mean))
    variance = float(residual @ residual) / freedom * (1 - archs / SPACE_SIZE)
    found: Floats = np.sqrt(variance * np.einsum("ij,jk,ik->i", contrasts, inverse, contrasts))
    return found


def _over_samples(by_sample: Floats) -> Floats | None:
    samples = by_sample.shape[1]
    if samples < 2:
        return None
    found: Floats = by_sample.std(axis=1, ddof=1) / math.sqrt(samples)
    return found


def _shares(values: Floats, mean: Floats) -> tuple[float, ...]:
    variance = float(mean.var())
    if len(mean) != SPACE_SIZE or variance == 0:
        return ()
    squares = (values.reshape(NUM_BLOCKS, NUM_OPTIONS) ** 2).mean(axis=1) / variance
    return tuple(squares.tolist())


@dataclass(frozen=True)
class Stability:
    """Kendall's tau-b of the ranking on the first K batches against that on all of them.

    `tau` is None where it is undefined, which `reason` tells.
    """

    batches: int
    samples: int
    tau: float | None
    reason: str | None


def stability_by_batches(scores: Floats, sizes: Sequence[int]) -> tuple[Stability, ...]:
    """Return how stable the ranking is in K, the number of validation batches.

    The ranking on all of them has fewer errors, not none, and against itself tau is 1.

    Parameters
    ----------
    scores : numpy.ndarray
        Shape (archs, samples): EPE of each sample, px, in the order of the batches.
    sizes : sequence of int
        Samples of each batch.
    """
    whole = scores.mean(axis=1).tolist()
    ends = np.cumsum(sizes)
    found = []
    for batches in k_grid(len(sizes))[:-1]:
        samples = int(ends[batches - 1])
        tau, reason = kendall_tau(scores[:, :samples].mean(axis=1).tolist(), whole)
        found.append(Stability(batches, samples, tau, reason))
    return tuple(found)
