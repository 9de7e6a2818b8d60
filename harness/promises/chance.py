"""How likely what was drawn is, if it was drawn as declared: bounds that hold for any sample size.

None of them is an approximation for large samples, so that what a gate says of its false alarms
is proven and not estimated. All are natural logarithms.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.promises.promise import Violation

__all__ = [
    "FALSE_ALARM", "Finding", "agreement", "repeats", "signs", "spread", "too_unlikely",
]  # fmt: skip

FALSE_ALARM = 1e-7
"""Chance, for a right trainer under any one seed, that one of several figures that are looked at
together is told as no coincidence: of m figures, one that is less likely than this over m
(Bonferroni). Promises of draws look at seven such sets, which makes at most one false alarm in
1.4 million gates."""


@dataclass(frozen=True)
class Finding:
    """One figure of what was drawn.

    Attributes
    ----------
    where, expected, found : str
        As of a violation.
    chance : float
        Natural logarithm of at least the chance of such a figure, or one further off.
    """

    where: str
    expected: str
    found: str
    chance: float


def too_unlikely(findings: Sequence[Finding]) -> list[Violation]:
    """Return the findings that are no coincidence, the least likely first."""
    limit = math.log(FALSE_ALARM) - math.log(max(1, len(findings)))
    wrong = sorted((f for f in findings if f.chance < limit), key=lambda f: f.chance)
    return [Violation(f.where, f.expected, f.found, "draws") for f in wrong]


def spread(counts: Iterable[float] | NDArray[np.int64], shares: Sequence[float] = ()) -> float:
    """Bound the chance that n draws fall into k cells as unevenly as counted.

    With the relative entropy D of what was found to what was expected, n D has at most the
    moments of a gamma variable of shape k - 1, so that x = n D > k - 1 has at most the chance
    exp(-x) (e x / (k - 1)) ** (k - 1) (Agrawal, Finite-sample concentration of the multinomial in
    relative entropy, IEEE Trans. Inf. Theory 66, 2020). It holds for draws without replacement
    too, whose counts spread less (Hoeffding, J. Am. Stat. Assoc. 58, 1963, theorem 4: D is
    convex).

    Parameters
    ----------
    counts : sequence of int
        Draws in each cell, shape (k,).
    shares : sequence of float, optional
        Expected share of each cell. Default: the same of each.
    """
    found = np.asarray(counts, np.float64).ravel()
    cells, total = len(found), found.sum()
    expected = total * (
        np.asarray(shares, np.float64) if len(shares) else np.full(cells, 1 / cells)
    )
    seen = found > 0
    if (expected[seen] == 0).any():
        return -math.inf
    excess, free = float((found[seen] * np.log(found[seen] / expected[seen])).sum()), cells - 1
    if excess <= free or free == 0:
        return 0.0
    return -excess + free * (1 + math.log(excess / free))


def repeats(count: int, draws: int, places: float) -> float:
    """Bound the chance that so many of n draws repeat an earlier one, of equally likely places.

    The t-th does with a chance of at most (t - 1) / places, whatever was before; for a sum of
    mean m = n (n - 1) / (2 places), Chernoff's bound is exp(c - m) (m / c) ** c.
    """
    mean = draws * (draws - 1) / 2 / places
    return 0.0 if count <= mean else count - mean + count * math.log(mean / count)


def agreement(count: int, tries: float = 1.0) -> float:
    """Bound the chance that one order has so many places, or pairs of neighbours, of another.

    Sets of c of them that agree number 1 / c! at most on average, for permutations as for draws
    with replacement: as many as there are ways to choose c places, times the chance of each.

    Parameters
    ----------
    tries : float, default 1
        How many other orders were tried, of which the best agrees so.
    """
    return min(0.0, math.log(tries) - math.lgamma(count + 1))


def signs(ratio: float) -> float:
    """Bound the chance that ``|sum(x y)| / sqrt(sum(x^2 y^2))`` is so large.

    Of independent x and y of which one is as likely of either sign in every place, whatever its
    distribution: 2 exp(-ratio ** 2 / 2) (Hoeffding 1963, theorem 2, given both magnitudes).
    """
    return min(0.0, math.log(2) - ratio * ratio / 2)
