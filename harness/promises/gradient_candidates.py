"""What a wrong gradient is instead: micro-batches weighed or clipped in another way."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.promises.gradients import GRADIENT_TOLERANCE, Gradient, gradient_norm

__all__ = ["clipped_instead", "combined", "gradient_distance", "weighed_instead"]


def gradient_distance(one: Gradient, other: Gradient) -> float:
    """Return how far two gradients are apart, relative to the first one's norm."""
    difference = {n: np.asarray(one[n], np.float64) - other[n] for n in one}
    return gradient_norm(difference) / max(gradient_norm(one), 1e-300)


def combined(terms: Sequence[tuple[float, Gradient]]) -> dict[str, NDArray[np.float64]]:
    """Return the sum of weighted gradients."""
    return {n: np.asarray(sum(w * g[n] for w, g in terms), np.float64) for n in terms[0][1]}


_WEIGHTS: Mapping[str, Sequence[float]] = {
    "each micro-batch weighs the same, whatever its size": (1 / 3, 1 / 3, 1 / 3),
    "the sum over micro-batches, not the mean": (1.0, 1.0, 1.0),
    "the sum over samples, not the mean": (2.0, 2.0, 1.0),
    "divided by the planned micro-batches' samples, 6, not by 5": (1 / 3, 1 / 3, 1 / 6),
    "divided by 4 samples, not by 5": (0.5, 0.5, 0.25),
    "the last micro-batch is lost": (0.4, 0.4, 0.0),
    "the last micro-batch is lost, the others share its weight": (0.5, 0.5, 0.0),
    "the last micro-batch alone": (0.0, 0.0, 1.0),
    "the last micro-batch alone, by its share of the samples": (0.0, 0.0, 0.2),
    "the last micro-batch counts twice": (0.4, 0.4, 0.4),
    "the first micro-batch counts twice": (0.8, 0.4, 0.2),
    "three times that, as the sum over archs": (1.2, 1.2, 0.6),
    "a third of that, divided by the archs twice": (0.4 / 3, 0.4 / 3, 0.2 / 3),
    "half of that": (0.2, 0.2, 0.1),
    "twice that": (0.8, 0.8, 0.4),
    "nothing": (0.0, 0.0, 0.0),
}
"""How micro-batches of 2, 2 and 1 samples may weigh instead of 0.4, 0.4 and 0.2."""

_TOLD_APART = 2.0
"""The nearest candidate is named if it is this many times nearer than the next, and than 0.4,
0.4 and 0.2: gradients of other batch sizes round otherwise, so none is met to the last bit."""


def weighed_instead(
    a: Gradient, b: Gradient, found: Gradient, distance: float, allowed: float
) -> str:  # fmt: skip
    """Return how micro-batches of A, A and of A, A and of B weigh instead, in words.

    Parameters
    ----------
    distance : float
        Relative distance of the right weights.
    allowed : float
        Relative distance that rounding explains.
    """
    length = max(gradient_norm(combined([(0.8, a), (0.2, b)])), 1e-300)
    apart: dict[tuple[float, ...], tuple[float, list[str]]] = {}
    for name, weights in _WEIGHTS.items():
        expected = combined([(weights[0] + weights[1], a), (weights[2], b)])
        difference = {n: np.asarray(found[n], np.float64) - expected[n] for n in expected}
        key = (round(gradient_norm(expected) / length, 9), round(weights[2], 9) * (a is not b))
        apart.setdefault(key, (gradient_norm(difference) / length, []))[1].append(name)
    if len(apart) < 2:  # no gradient, of which every share is the same
        return ""
    (nearest, names), (second, _) = sorted(apart.values())[:2]
    if nearest <= allowed and _TOLD_APART * nearest < min(second, distance):
        # Of copies of one sample two ways may give the same.
        return f": {', or '.join(names)}"
    return ""


def clipped_instead(free: Gradient, found: Gradient, threshold: float) -> str:
    """Return what was done to a gradient instead of clipping its norm, in words."""
    length = gradient_norm(free)
    norms = {n: max(float(np.linalg.norm(g)), 1e-300) for n, g in free.items()}
    ways = {
        "it is not clipped": free,
        "each variable is clipped by itself": {
            n: g * min(1.0, threshold / norms[n]) for n, g in free.items()
        },
        "each value is clipped by itself": {
            n: np.clip(g, -threshold, threshold) for n, g in free.items()
        },
        "it is scaled to a norm of 1": {n: g / length for n, g in free.items()},
        "it is clipped at half of the threshold": {
            n: g * threshold / length / 2 for n, g in free.items()
        },
        "it is clipped at twice the threshold": {
            n: g * min(1.0, 2 * threshold / length) for n, g in free.items()
        },
        "nothing is left of it": {n: 0 * g for n, g in free.items()},
        "it is clipped, and summed over the archs": {
            n: 3 * g * threshold / length for n, g in free.items()
        },
    }
    near = (
        name for name, way in ways.items() if gradient_distance(way, found) <= GRADIENT_TOLERANCE
    )
    return next((f": {name}" for name in near), "")
