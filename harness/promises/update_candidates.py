"""What a wrong update is instead: another rate, correction, decay, moment or batch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.candidates import instead
from harness.promises.gradients import (
    GRADIENT_TOLERANCE,
    WEIGHT_ROUNDING,
    gradient_norm,
    gradient_of_first,
)
from harness.promises.one_step import OneStep, second_step_gradient
from harness.promises.update_rules import Moved, bias_correction, planned_moves
from harness.schedules import COSINE, Schedule
from harness.systems.declared import UpdateRule

__all__ = [
    "moved", "norm_of_gradient_instead", "planned_steps", "second_moment_instead",
    "step_instead", "weight_rounding",
]  # fmt: skip

Steps = Mapping[str, NDArray[Any]]


_STEP = 2
"""Number of the step that is looked at."""


def moved(evidence: OneStep, **changes: Any) -> Moved:
    """Return step 2 and what it was made of, with other fields where they are given."""
    # A weight that step 1 passed over has moments of zero behind it.
    numbers = {n: _STEP - (not np.any(m)) for n, m in evidence.first[0].items()}
    step = Moved(
        evidence.by, evidence.lr, _STEP, evidence.before, evidence.after, evidence.second,
        second_step_gradient(evidence), evidence.first, numbers, evidence.rests,
    )  # fmt: skip
    return replace(step, **changes)


def planned_steps(evidence: OneStep, fits: Callable[[Steps], bool]) -> Steps:
    """Return by weight the second step, epsilon where TensorFlow has it, or PyTorch if that fits.

    A tiny gradient tells them apart.
    """
    planned = planned_moves(moved(evidence))
    if fits(planned):
        return planned
    others = (
        planned_moves(moved(evidence), corrected=corrected, own_number=own)
        for own in (False, True)
        for corrected in (True, False)
    )
    return next((other for other in others if fits(other)), planned)


def weight_rounding(evidence: OneStep, name: str) -> float:
    """Return how far rounding alone, float32, may move a weight."""
    return WEIGHT_ROUNDING * float(np.linalg.norm(np.asarray(evidence.before[name], np.float64)))


_FACTORS: Mapping[str, float] = {
    "twice the step": 2.0,
    "half of the step": 0.5,
    "three times the step": 3.0,
    "the step goes uphill": -1.0,
    "no step was made": 0.0,
}


def _rates(schedule: Schedule) -> dict[str, float]:
    """Return what the rate of step 2 may be instead, by how many times the planned one it is."""
    if not schedule.known or not (own := _share(schedule, 1)):
        return dict(_FACTORS)
    shares = {
        "the base learning rate, it does not fall": 1.0,
        "the learning rate of the step after": _share(schedule, 2),
        "a learning rate that falls in a straight line": _share(Schedule("linear"), 1),
        "a learning rate that falls by half a cosine": _share(COSINE, 1),
    }
    return {name: share / own for name, share in shares.items() if share != own} | dict(_FACTORS)


def _share(schedule: Schedule, done: int) -> float:
    # An epoch of the evidence is one step, and its plan has three.
    return schedule.rate(1.0, done, 3, 1)


_EPSILONS = ("1e-8", "1e-7", "1e-6", "1e-5", "1e-4", "1e-3")


def _of_adam(rule: UpdateRule) -> dict[str, dict[str, Any]]:
    """Return what an Adam step may have instead of its own: a correction, or an epsilon."""
    right = bias_correction(rule, _STEP)
    own = {f"epsilon {text}, not {rule.eps:g}": {"rule": replace(rule, eps=float(text))}
           for text in _EPSILONS if float(text) != rule.eps}  # fmt: skip
    return {
        "no bias correction": {"rate": 1 / right},
        "the bias correction of step 1": {"rate": bias_correction(rule, 1) / right},
        "the bias correction of step 3": {"rate": bias_correction(rule, 3) / right},
        **own,
    }


def _other_rules(rule: UpdateRule) -> dict[str, UpdateRule]:
    """Return other rules by which the same decay may have been applied."""
    if rule.rule == "sgd":
        return {
            f"SGD {'without' if rule.nesterov else 'with'} Nesterov's momentum": replace(
                rule, nesterov=not rule.nesterov
            )
        }
    adamw, every = replace(rule, rule="adamw"), replace(rule, rule="adamw", undecayed=())
    return {
        "Adam's step alone, the decay is in its gradient (coupled L2) or nowhere": replace(
            rule, rule="adam"
        ),
        "the decay of all weights is decoupled, as AdamW's": every,
        "the decay is decoupled, as AdamW's": adamw,
    }


def step_instead(evidence: OneStep, fits: Callable[[Steps], bool]) -> str:
    """Return what all weights did instead of the rule's step, in words.

    Parameters
    ----------
    fits : callable
        Whether steps, by weight, are those that were found.
    """
    rule, gradient = evidence.by, second_step_gradient(evidence)

    def of(rate: float = 1.0, **changes: Any) -> Steps:
        own = moved(evidence, **changes)
        plain = planned_moves(own, decayed=False)
        decay = {n: m - plain[n] for n, m in planned_moves(own).items()}
        return {name: rate * step + decay[name] for name, step in plain.items()}

    adam = {} if rule.rule == "sgd" else _of_adam(rule)
    corrections = {n: o for n, o in adam.items() if "rate" in o}
    options = corrections | {n: {"rate": r} for n, r in _rates(evidence.schedule).items()}
    options |= {n: o for n, o in adam.items() if "rate" not in o}
    if evidence.rule is not None:
        options |= {n: {"rule": other} for n, other in _other_rules(rule).items()}
    for name, one in options.items():
        if fits(of(**one)):
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
        "the gradient alone, without momentum" if rule.rule == "sgd"
        else "the gradient alone, without Adam": {n: evidence.lr * g for n, g in gradient.items()},
        "the first moment alone, without the second": {
            n: evidence.lr * np.asarray(evidence.second[0][n], np.float64) for n in gradient
        },
    }  # fmt: skip
    return next((f": {name}" for name, steps in others.items() if fits(steps)), "")


def second_moment_instead(evidence: OneStep, close: Callable[[Any, Any], bool]) -> str:
    """Return by which rule every second moment was made instead, in words."""
    if evidence.by.rule == "sgd":
        return ""
    gradient = second_step_gradient(evidence)
    old, new = evidence.first[1], evidence.second[1]

    def of(beta: float) -> bool:
        return all(
            close(beta * np.asarray(old[n], np.float64) + (1 - beta) * g**2, new[n])
            for n, g in gradient.items()
        )

    if all(np.array_equal(old[name], new[name]) for name in gradient):
        return ": it stayed as it was"
    declared = evidence.by.betas[1]
    for beta in (0.9, 0.95, 0.98, 0.99, 0.999, 0.9999):
        if beta != declared and of(beta):
            return f": with a beta_2 of {beta}, not {declared}"
    return ""


def norm_of_gradient_instead(evidence: OneStep) -> str:
    """Return what the reported norm is instead of the second gradient's, in words."""
    gradient = second_step_gradient(evidence)
    norms = [float(np.linalg.norm(g)) for g in gradient.values()]
    first = gradient_of_first(evidence.by, evidence.first[0])
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
