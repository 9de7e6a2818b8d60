"""States that a short run never reaches: weights far from zero, and second moments that were huge.

A weight of its own is far in each array, so far that its decay alone is a large gradient.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.gradients import STEP_TOLERANCE, WEIGHT_ROUNDING, Gradient, gradient_between
from harness.promises.promise import Violation
from harness.promises.update_rules import NAMES, Moved, planned_moves
from harness.systems.declared import UpdateRule
from harness.systems.protocol import Arrays, ServedBatch, System

__all__ = [
    "FAR_WEIGHT", "FarUpdate", "far_update", "far_weights", "huge_second_moments",
    "update_differs",
]  # fmt: skip

_FAR_GRADIENT = 200.0
"""Of a weight by its decay: above the value, of 1 to 100, at which gradients are cut off by value.
Of one that is larger the variances behind it would be, squared and summed, out of float32."""

FAR_WEIGHT = 30.0
"""Of a weight without decay, or where outputs would grow too far: above what weights are clamped
at."""

_MOST_OUTPUT = 1e9
"""px: gradients of larger outputs may leave float32, and a trainer rightly stops."""

_HUGE = 1e12
"""Second moment of a gradient of 1e6: what a step adds to it is nothing beside it."""

_FADING = 1e-5
"""Relative: float32 keeps a product to 1e-7, and a maximum is 1e-3 above what fades by 0.999."""


@dataclass(frozen=True)
class FarUpdate:
    """A step of the weights from such a state.

    Attributes
    ----------
    name : str
        The step in words.
    moved : Moved
        What it moved, and what it was made of.
    second : mapping of str to numpy.ndarray
        Second moments before it, by weight.
    """

    name: str
    moved: Moved
    second: Arrays


def far_weights(
    system: System, arch: str, batch: ServedBatch, weights: Arrays, decays: Mapping[str, float]
) -> dict[str, NDArray[Any]]:
    """Return weights of which one element of each array is far, the largest that outputs allow.

    None where outputs would grow too far by any. The system is left with the weights as they were.
    """
    far_by_decay = {n: _FAR_GRADIENT / d if d else FAR_WEIGHT for n, d in decays.items()}
    for sizes in (far_by_decay, dict.fromkeys(weights, FAR_WEIGHT)):
        found = {name: np.array(array) for name, array in weights.items()}
        for place, (name, array) in enumerate(found.items()):
            array.flat[place % array.size] = sizes[name]
        system.state(found)
        outputs = system.predict(arch, batch)
        system.state({name: np.array(array) for name, array in weights.items()})
        if all(float(np.abs(output).max()) <= _MOST_OUTPUT for output in outputs):  # not of a NaN
            return found
    return {}


def huge_second_moments(
    rule: UpdateRule, state: Arrays, slots: Mapping[str, tuple[str, str]]
) -> dict[str, NDArray[Any]]:
    """Return second moments that are huge, by their names; none of a rule that has none."""
    if rule.rule == "sgd":
        return {}
    return {v: np.full_like(state[v], _HUGE) for _, v in slots.values()}


def far_update(
    name: str, rule: UpdateRule, slots: Mapping[str, tuple[str, str]], before: Arrays,
    after: Arrays, *, lr: float, number: int,
) -> FarUpdate:  # fmt: skip
    """Return a step between two whole states; `number` counts it from 1 in its run."""
    old, new = (
        tuple({w: np.array(state[pair[i]]) for w, pair in slots.items()} for i in (0, 1))
        for state in (before, after)
    )
    moved = Moved(
        rule, lr, number, {w: np.array(before[w]) for w in slots},
        {w: np.array(after[w]) for w in slots}, (new[0], new[1]),
        gradient_between(rule, old[0], new[0]),
    )  # fmt: skip
    return FarUpdate(name, moved, old[1])


def update_differs(update: FarUpdate) -> list[Violation]:
    """Return how a step is none of its rule, element by element, or its second moments."""
    step = update.moved
    forms = [planned_moves(step, corrected=corrected) for corrected in (False, True)]
    off = [_elements_off(step, planned) for planned in forms]
    planned, wrong = min(zip(forms, off, strict=True), key=lambda pair: len(pair[1]))
    violations = [
        Violation(
            f"{update.name}, {len(wrong)} of {len(planned)} weights such as {name}",
            f"{step.before[name].flat[place]:.7g} moved by {planned[name].flat[place]:.4g}, by "
            f"{NAMES[step.rule.rule]}",
            f"by {step.moves[name].flat[place]:.4g}, to {step.after[name].flat[place]:.7g}",
            "step",
        )
        for name, place in [*wrong.items()][:1]
    ]
    return [*violations, *_other_second_moments(update)]


def _elements_off(step: Moved, planned: Gradient) -> dict[str, int]:
    """Return by weight the element that is furthest off, where rounding does not explain it."""
    found, moves = dict[str, int](), step.moves
    for name, move in planned.items():
        size = np.abs(move) + float(np.sqrt(np.mean(np.square(move))))
        allowed = STEP_TOLERANCE * size + WEIGHT_ROUNDING * np.abs(step.before[name])
        excess = np.nan_to_num(np.abs(moves[name] - move) - allowed, nan=np.inf)
        if excess.max(initial=0) > 0:
            found[name] = int(excess.argmax())
    return found


def _other_second_moments(update: FarUpdate) -> list[Violation]:
    step = update.moved
    if step.rule.rule == "sgd":
        return []
    beta = step.rule.betas[1]
    for name, gradient in step.gradient.items():
        kept = beta * np.asarray(update.second[name], np.float64)
        added = (1 - beta) * np.square(gradient)
        found = np.asarray(step.moments[1][name], np.float64)
        off = np.abs(found - kept - added) - _FADING * kept - STEP_TOLERANCE * added
        if not off.max(initial=0) <= _LEAST:
            place = int(np.nan_to_num(off, nan=np.inf).argmax())
            old = float(update.second[name].flat[place])
            what = f"{found.flat[place]:.7g}"
            still = math.isclose(found.flat[place], old, rel_tol=_FADING)
            what += ", as it was: it does not fade" if still else ""
            return [
                Violation(
                    f"{update.name}, second moment of {name}",
                    f"{(kept + added).flat[place]:.7g}, {beta:g} of {old:.7g} and its own", what,
                    "step",
                )
            ]  # fmt: skip
    return []


_LEAST = 1e-30
"""What is less than this in a second moment is nothing."""
