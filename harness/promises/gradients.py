"""A step's gradient as Adam's first moment holds it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.systems.protocol import Arrays, System

__all__ = [
    "BETA_1", "BETA_2", "EPSILON", "GRADIENT_TOLERANCE", "REPEATED", "SHARES", "STEP_TOLERANCE",
    "WEIGHT_ROUNDING", "Gradient", "adam_slots", "first_step_gradient",
    "gradient_norm",
]  # fmt: skip


Gradient = Mapping[str, NDArray[Any]]


BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Of Adam, written down once more: a constant of the trainer's would vouch for itself."""

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


def adam_slots(system: System) -> Mapping[str, tuple[str, str]]:
    """Return the names of both Adam moments by weight; not applicable where there are none."""
    slots = system.describe().slots
    if not slots:
        msg = "the system names no optimizer slots, of which a step's gradient could be read"
        raise NotApplicableError(msg)
    return slots


def first_step_gradient(
    after_one: Arrays, slots: Mapping[str, tuple[str, str]]
) -> dict[str, NDArray[Any]]:
    """Return the first step's gradient: Adam's first moment over 1 - beta_1."""
    return {
        weight: np.asarray(after_one[m], np.float64) / (1 - BETA_1)
        for weight, (m, _) in slots.items()
    }


def gradient_norm(gradient: Gradient) -> float:
    """Return the global norm, in float64."""
    return math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradient.values()))
