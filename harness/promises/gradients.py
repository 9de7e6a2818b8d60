"""A step's gradient as the optimizer's first moment holds it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.systems.declared import ADAM, UpdateRule
from harness.systems.protocol import Arrays, Description, System

__all__ = [
    "GRADIENT_TOLERANCE", "REPEATED", "SHARES", "STEP_TOLERANCE",
    "WEIGHT_ROUNDING", "Gradient", "adam_slots", "first_step_gradient", "gradient_between",
    "gradient_norm", "gradient_of_first", "gradient_of_loss",
    "slope_along", "update_slots",
]  # fmt: skip


Gradient = Mapping[str, NDArray[Any]]


STEP_TOLERANCE = 2e-3
"""Relative to the length of a variable's step: moments are stored in float32."""

WEIGHT_ROUNDING = 4e-7
"""Of a weight's own length: how far float32 alone may move it."""

REPEATED = 1e-6
"""Relative distance of one step's loss and of its repetition; a nudge moves it by 50 times that
at the least."""

SHARES = (2e-4, 5e-5)
"""By which share of itself a nudge should move the loss: a long way crosses kinks, a short one
drowns in rounding. With one alone, some of fifty random configurations raised a false alarm."""

GRADIENT_TOLERANCE = 1e-3
"""Relative distance of two gradients that must agree but for rounding."""


def update_slots(about: Description) -> Mapping[str, tuple[str, str]]:
    """Return the names of both moments by weight, of SGD those of its buffer twice.

    Raises
    ------
    NotApplicableError
        If the system names none, or declares a rule of its own, of which nothing can be read.
    """
    if (about.update or ADAM).rule == "own":
        msg = "the system declares an update rule of its own (describe()['update'])"
        raise NotApplicableError(msg)
    if not about.slots:
        msg = "the system names no optimizer slots, of which a step's gradient could be read"
        raise NotApplicableError(msg)
    return {weight: (names[0], names[-1]) for weight, names in about.slots.items()}


def adam_slots(system: System) -> Mapping[str, tuple[str, str]]:
    """Return the names of both Adam moments by weight; not applicable where there are none."""
    return update_slots(system.describe())


def gradient_between(rule: UpdateRule, old: Arrays, new: Arrays) -> dict[str, NDArray[np.float64]]:
    """Return the gradient that a step's first moment took in, by weight.

    Adam: ``m = beta_1 m' + (1 - beta_1) G``; SGD: ``b = momentum b' + G``. A moment that is the
    same to the last bit took in nothing: PyTorch passes over a weight without a gradient.
    """
    kept, share = _kept_and_share(rule)
    return {
        name: np.zeros(np.shape(moment))
        if np.array_equal(moment, old[name])
        else (np.asarray(moment, np.float64) - kept * np.asarray(old[name], np.float64)) / share
        for name, moment in new.items()
    }


def gradient_of_first(rule: UpdateRule, new: Arrays) -> dict[str, NDArray[np.float64]]:
    """Return the gradient of a first step, before which the moments were 0."""
    share = _kept_and_share(rule)[1]
    return {name: np.asarray(moment, np.float64) / share for name, moment in new.items()}


def _kept_and_share(rule: UpdateRule) -> tuple[float, float]:
    if rule.rule == "sgd":
        return rule.momentum, 1.0
    return rule.betas[0], 1 - rule.betas[0]


def gradient_of_loss(rule: UpdateRule, gradient: Gradient, weights: Arrays) -> Gradient:
    """Return a step's gradient without the decay that the optimizer has added to it."""
    if rule.decoupled or not rule.weight_decay:
        return gradient
    return {
        name: g - rule.decay_of(name) * np.asarray(weights[name], np.float64)
        for name, g in gradient.items()
    }


def slope_along(rule: UpdateRule, gradient: Gradient, weights: Arrays) -> float:
    """Return the slope of the reported loss along a step's gradient: its norm, but for decay.

    What the optimizer adds to a gradient is no part of the loss.
    """
    if rule.decoupled or not rule.weight_decay:
        return gradient_norm(gradient)
    own = gradient_of_loss(rule, gradient, weights)
    along = math.fsum(float((own[n] * gradient[n]).sum()) for n in gradient)
    return along / max(gradient_norm(gradient), 1e-300)


def first_step_gradient(
    after_one: Arrays, slots: Mapping[str, tuple[str, str]], rule: UpdateRule = ADAM
) -> dict[str, NDArray[np.float64]]:
    """Return the first step's gradient, from the moments after it: Adam's over 1 - beta_1."""
    return gradient_of_first(rule, {weight: after_one[m] for weight, (m, _) in slots.items()})


def gradient_norm(gradient: Gradient) -> float:
    """Return the global norm, in float64."""
    return math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradient.values()))
