"""What a wrong update is instead: another rate, correction, decay, moment or batch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.candidates import instead
from harness.promises.gradients import (
    BETA_1,
    BETA_2,
    EPSILON,
    GRADIENT_TOLERANCE,
    WEIGHT_ROUNDING,
    gradient_norm,
)
from harness.promises.one_step import OneStep, second_step_gradient

__all__ = [
    "adam_step", "norm_of_gradient_instead", "second_moment_instead", "statistic_after",
    "statistic_instead", "step_instead", "weight_rounding",
]  # fmt: skip

Steps = Mapping[str, NDArray[Any]]


def _correction(step: int) -> float:
    """Return Adam's bias correction of a step, from 1."""
    return math.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)


def adam_step(
    evidence: OneStep, name: str, *, correction: float = _correction(2), rate: float = 1.0,
    epsilon: float = EPSILON,
) -> NDArray[np.float64]:  # fmt: skip
    """Return the second step of a weight, from the moments after it.

    Parameters
    ----------
    correction, rate, epsilon : float
        Another bias correction, a multiple of the planned learning rate, another epsilon.
    """
    first, second = (np.asarray(moment[name], np.float64) for moment in evidence.second)
    scaled = first / (np.sqrt(np.maximum(second, 0)) + epsilon)
    step: NDArray[np.float64] = evidence.lr * rate * correction * scaled
    return step


def weight_rounding(evidence: OneStep, name: str) -> float:
    """Return how far rounding alone, float32, may move a weight."""
    return WEIGHT_ROUNDING * float(np.linalg.norm(np.asarray(evidence.before[name], np.float64)))


# An epoch of the evidence is one step, and its plan has three: step 2 has 0.75 of the base rate.
_OF_THE_BASE = 0.75

_OPTIONS: Mapping[str, Mapping[str, float]] = {
    "no bias correction": {"correction": 1.0},
    "the bias correction of step 1": {"correction": _correction(1)},
    "the bias correction of step 3": {"correction": _correction(3)},
    "the base learning rate, it does not fall": {"rate": 1 / _OF_THE_BASE},
    "the learning rate of the step after": {"rate": 0.25 / _OF_THE_BASE},
    "a learning rate that falls in a straight line": {"rate": 2 / 3 / _OF_THE_BASE},
    "twice the step": {"rate": 2.0},
    "half of the step": {"rate": 0.5},
    "three times the step": {"rate": 3.0},
    "the step goes uphill": {"rate": -1.0},
    "no step was made": {"rate": 0.0},
    "epsilon 1e-7, not 1e-8": {"epsilon": 1e-7},
    "epsilon 1e-6, not 1e-8": {"epsilon": 1e-6},
    "epsilon 1e-5, not 1e-8": {"epsilon": 1e-5},
    "epsilon 1e-4, not 1e-8": {"epsilon": 1e-4},
    "epsilon 1e-3, not 1e-8": {"epsilon": 1e-3},
}


def step_instead(evidence: OneStep, fits: Callable[[Steps], bool]) -> str:
    """Return what all weights did instead of Adam's step, in words.

    Parameters
    ----------
    fits : callable
        Whether steps, by weight, are those that were found.
    """
    gradient = second_step_gradient(evidence)

    def of(**options: float) -> dict[str, NDArray[np.float64]]:
        return {name: adam_step(evidence, name, **options) for name in gradient}

    for name, options in _OPTIONS.items():
        if fits(of(**options)):
            return f": {name}"
    planned, rate = of(), evidence.lr * evidence.decay
    kernels = {n: np.asarray(w, np.float64) * (w.ndim == 4) for n, w in evidence.before.items()}
    others: dict[str, Steps] = {
        "the weight decay once more, beside the gradient": {
            n: step + rate * np.asarray(evidence.before[n], np.float64)
            for n, step in planned.items()
        },
        "the weight decay of kernels once more, beside the gradient": {
            n: step + rate * kernels[n] for n, step in planned.items()
        },
        "the gradient alone, without Adam": {n: evidence.lr * g for n, g in gradient.items()},
        "the first moment alone, without the second": {
            n: evidence.lr * np.asarray(evidence.second[0][n], np.float64) for n in gradient
        },
    }
    return next((f": {name}" for name, steps in others.items() if fits(steps)), "")


def second_moment_instead(evidence: OneStep, close: Callable[[Any, Any], bool]) -> str:
    """Return by which rule every second moment was made instead, in words."""
    gradient = second_step_gradient(evidence)
    old, new = evidence.first[1], evidence.second[1]

    def of(beta: float) -> bool:
        return all(
            close(beta * np.asarray(old[n], np.float64) + (1 - beta) * g**2, new[n])
            for n, g in gradient.items()
        )

    if all(np.array_equal(old[name], new[name]) for name in gradient):
        return ": it stayed as it was"
    for beta in (0.9, 0.95, 0.98, 0.99, 0.9999):
        if of(beta):
            return f": with a beta_2 of {beta}, not {BETA_2}"
    return ""


def norm_of_gradient_instead(evidence: OneStep) -> str:
    """Return what the reported norm is instead of the second gradient's, in words."""
    gradient = second_step_gradient(evidence)
    norms = [float(np.linalg.norm(g)) for g in gradient.values()]
    first = {n: np.asarray(m, np.float64) / (1 - BETA_1) for n, m in evidence.first[0].items()}
    decay = {
        n: g - evidence.decay * np.asarray(evidence.before[n], np.float64) * (g.ndim == 4)
        for n, g in gradient.items()
    }
    whole = gradient_norm(gradient)
    candidates = {
        "that of step 1": gradient_norm(first),
        "that without the weight decay": gradient_norm(decay),
        "the sum of the variables' norms": math.fsum(norms),
        "the largest of the variables' norms": max(norms, default=None),
        "the mean of the variables' norms": math.fsum(norms) / max(len(norms), 1),
        "the largest value of the gradient": max(
            (float(np.abs(g).max(initial=0)) for g in gradient.values()), default=None
        ),
        "three times that, as the sum over archs": 3 * whole,
        "a third of that": whole / 3,
        "twice that": 2 * whole,
        "half of it": whole / 2,
        "its square": whole**2,
    }
    return instead(evidence.norm, candidates, rel_tol=GRADIENT_TOLERANCE)


def statistic_after(
    evidence: OneStep, name: str, *, momentum: float = 0.9, corrected: bool = True,
    order: Sequence[int] | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """Return a moving statistic after the batches of a step's archs, one by one.

    Parameters
    ----------
    momentum : float, default 0.9
        What is kept of a statistic at each batch.
    corrected : bool, default True
        Whether a batch's variance is divided by N - 1.
    order : sequence of int, optional
        Other places of the step's archs than each once, in order.
    """
    unit, kind = name.rsplit("/", 1)
    recalibrated = evidence.recalibrated or ()
    found = np.asarray(evidence.moving[name], np.float64)
    for place in range(len(recalibrated)) if order is None else order:
        recal = recalibrated[place]
        if unit in recal.stats and unit in recal.inputs:
            values = np.asarray(recal.inputs[unit][0], np.float64)
            values = values.reshape(-1, values.shape[-1])
            count = len(values)
            factor = count / (count - 1) if corrected else 1.0
            batch = values.mean(axis=0) if kind == "moving_mean" else values.var(axis=0) * factor
            found = momentum * found + (1 - momentum) * batch
    return found


def statistic_instead(evidence: OneStep, name: str, rel_tol: float) -> str:
    """Return how a moving statistic was updated instead, in words."""
    places = list(range(len(evidence.recalibrated or ())))
    found = np.asarray(evidence.moved[name], np.float64)
    ways: dict[str, Mapping[str, Any]] = {
        "it was not updated": {"order": []},
        "it was updated twice by each arch": {"order": [p for p in places for _ in (0, 1)]},
        "all archs updated it twice": {"order": places * 2},
        "only the first arch updated it": {"order": places[:1]},
        "only the last arch updated it": {"order": places[-1:]},
        "the last arch did not update it": {"order": places[:-1]},
        "the first arch did not update it": {"order": places[1:]},
        "the archs updated it in reversed order": {"order": places[::-1]},
        "momentum 0.1, the complement": {"momentum": 0.1},
        "momentum 0.99": {"momentum": 0.99},
        "momentum 0.999": {"momentum": 0.999},
        "the variance over N, not N - 1": {"corrected": False},
    }
    for words, options in ways.items():
        expected = statistic_after(evidence, name, **options)
        size = max(float(np.linalg.norm(expected)), 1e-6)
        if float(np.linalg.norm(found - expected)) <= rel_tol * size:
            return f": {words}"
    return ""
