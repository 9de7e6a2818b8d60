"""What a moving statistic is after the batches of a step, and what it may be instead."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.one_step import OneStep
from harness.systems.protocol import Recalibration

__all__ = ["statistic_after", "statistic_instead", "statistic_size"]


def statistic_after(
    evidence: OneStep, name: str, *, momentum: float | None = None, corrected: bool = True,
    order: Sequence[int] | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """Return a moving statistic after the batches of a step's archs, one by one.

    Parameters
    ----------
    momentum : float, optional
        What is kept of a statistic at each batch. Default: as the system declares, else 0.9.
    corrected : bool, default True
        Whether a batch's variance is divided by N - 1.
    order : sequence of int, optional
        Other places of the step's archs than each once, in order.
    """
    unit, kind = name.rsplit("/", 1)
    recalibrated = evidence.recalibrated or ()
    kept = evidence.kept if momentum is None else momentum
    found = np.asarray(evidence.moving[name], np.float64)
    for place in range(len(recalibrated)) if order is None else order:
        recal = recalibrated[place]
        if unit in recal.stats and unit in recal.inputs:
            values = np.asarray(recal.inputs[unit][0], np.float64)
            values = values.reshape(-1, values.shape[-1])
            count = len(values)
            factor = count / (count - 1) if corrected else 1.0
            batch = values.mean(axis=0) if kind == "moving_mean" else values.var(axis=0) * factor
            found = kept * found + (1 - kept) * batch
    return found


_NEAR_ZERO = 0.01
"""Share of its values below which a mean is measured by them: beside values near 1, float32 leaves
some 3e-7 of error, which of a mean near zero may be anything."""


def statistic_size(
    expected: NDArray[np.float64], name: str, recalibrated: Sequence[Recalibration]
) -> float:
    """Return what a moving statistic's error is measured by: its norm, or a share of its values'.

    Parameters
    ----------
    expected : numpy.ndarray, shape (C,)
    name : str
        ``UNIT/moving_mean`` or ``UNIT/moving_variance``.
    recalibrated : sequence of Recalibration
        With the inputs of the units.
    """
    unit, kind = name.rsplit("/", 1)
    size = max(float(np.linalg.norm(expected)), 1e-6)
    if kind != "moving_mean":
        return size
    every = (np.asarray(r.inputs[unit][0], np.float64) for r in recalibrated if unit in r.inputs)
    spreads = (float(np.sqrt((v**2).reshape(-1, v.shape[-1]).mean(axis=0).sum())) for v in every)
    return max(size, _NEAR_ZERO * max(spreads, default=0.0))


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
        f"momentum {1 - evidence.kept:.3g}, the complement": {"momentum": 1 - evidence.kept},
        "momentum 0.9": {"momentum": 0.9},
        "momentum 0.99": {"momentum": 0.99},
        "momentum 0.999": {"momentum": 0.999},
        "the variance over N, not N - 1": {"corrected": False},
    }
    for words, options in ways.items():
        expected = statistic_after(evidence, name, **options)
        size = statistic_size(expected, name, evidence.recalibrated or ())
        if float(np.linalg.norm(found - expected)) <= rel_tol * size:
            return f": {words}"
    return ""
