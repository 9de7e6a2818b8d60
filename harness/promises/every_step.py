"""Every step of two epochs is an Adam step of its own gradient at its own rate."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.errors import NotApplicableError
from harness.promises.candidates import instead
from harness.promises.gradients import (
    BETA_1,
    BETA_2,
    EPSILON,
    STEP_TOLERANCE,
    WEIGHT_ROUNDING,
    gradient_norm,
)
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.promises.slopes import nearest_slope
from harness.promises.walk import Walk, WalkedStep, walk
from harness.wording import counted

__all__ = ["EVERY_UPDATE", "SLOPES", "every_step_is_adam", "gradients_are_slopes"]


def _planned_moves(step: WalkedStep, *, corrected: bool = False) -> dict[str, np.ndarray]:
    """Return by weight what Adam moves it by, from the moments after the step.

    Parameters
    ----------
    corrected : bool, default False
        Whether epsilon is added to the corrected second moment, as PyTorch does and Kingma and
        Ba (2015) write it first, and not as TensorFlow does.
    """
    second = math.sqrt(1 - BETA_2**step.number)
    epsilon = EPSILON * second if corrected else EPSILON
    return {
        name: step.lr * second / (1 - BETA_1**step.number) * np.asarray(m, np.float64)
        / (np.sqrt(np.maximum(np.asarray(step.new[1][name], np.float64), 0)) + epsilon)
        for name, m in step.new[0].items()
    }  # fmt: skip


def _fitted_ratio(planned: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    """Return how many times as far as planned the weights moved, by least squares over all."""
    square = math.fsum(float(np.square(m).sum()) for m in planned.values())
    along = math.fsum(float((found[n] * m).sum()) for n, m in planned.items())
    return along / square if square else math.inf


def _moves(step: WalkedStep) -> dict[str, np.ndarray]:
    return {n: np.asarray(w, np.float64) - step.after[n] for n, w in step.before.items()}


_RATE_TOLERANCE = 1e-4
"""Relative, of the rate that fits all weights together, in which their rounding averages out: that
of half precision is five times as much, and up to 3e-6 was seen in sound systems."""


def every_step_is_adam(evidence: Walk) -> Outcome:
    """Require every step to be one Adam step on its own gradient with its planned rate."""
    violations = []
    for step in evidence.steps:
        violations += _not_moved_as_planned(step, evidence.rates) or _other_second_moment(step)
    rates = [step.lr for step in evidence.steps]
    sizes = ", ".join(str(step.size) for step in evidence.steps)
    figures = (
        f"{counted(len(rates), 'step')} of {sizes} samples, "
        f"lr {max(rates, default=0):.3g} to {min(rates, default=0):.3g}"
    )
    return outcome(violations[:6], len(rates), figures)


def _not_moved_as_planned(step: WalkedStep, rates: Sequence[float]) -> list[Violation]:
    planned, found = _planned_moves(step), _moves(step)
    if not gradient_norm(step.gradient) > 0:
        return [Violation(step.name, "a gradient above 0", "none", "gradient")]
    wrong = [
        name for name, move in planned.items()
        if not np.linalg.norm(found[name] - move) <= STEP_TOLERANCE * np.linalg.norm(move)
        + WEIGHT_ROUNDING * np.linalg.norm(np.asarray(step.before[name], np.float64))
    ]  # fmt: skip
    # The rate that fits best, where a rate is what differs.
    ratio = _fitted_ratio(planned, found)
    either = (ratio, _fitted_ratio(_planned_moves(step, corrected=True), found))
    if not wrong and min(abs(one - 1) for one in either) > _RATE_TOLERANCE:
        wrong = list(planned)
    if not wrong:
        return []
    others = {f"that of step {i + 1} of the run": rate for i, rate in enumerate(rates)}
    what = instead(ratio * step.lr, others, rel_tol=STEP_TOLERANCE)
    return [
        Violation(
            f"{step.name}, {len(wrong)} of {len(planned)} weights such as {wrong[0]}",
            f"moved by Adam at the planned rate of {step.lr:.6g}",
            f"{ratio:.4g} times as far, a rate of {ratio * step.lr:.6g}{what}", "step",
        )
    ]  # fmt: skip


def _other_second_moment(step: WalkedStep) -> list[Violation]:
    """Return whether Adam's second moment took in another gradient than its first."""
    for name, g in step.gradient.items():
        old = np.asarray(step.old[1][name], np.float64)
        expected = BETA_2 * old + (1 - BETA_2) * np.square(g)
        found = np.asarray(step.new[1][name], np.float64)
        distance, size = np.linalg.norm(found - expected), float(np.linalg.norm(expected))
        if not distance <= STEP_TOLERANCE * size:
            where = f"{step.name}, second moment of {name}"
            text = f"{float(np.linalg.norm(found)) / size if size else math.inf:.4g} times that"
            return [Violation(where, f"norm {size:.6g}", text, "gradient")]
    return []


EVERY_UPDATE = Promise(
    id="every-update-is-adam",
    sentence="every step of two epochs is one Adam step with its planned rate",
    evidence=walk,
    check=every_step_is_adam,
    hint=(
        "Later steps are made otherwise than the first: a rate that changes once an epoch, moments "
        "that start again, an update that is left out."
    ),
    explained_by=("update-is-adam",),
    varied=True,
)

_SLOPE_TOLERANCE = 0.05
"""Relative error of a difference of losses where kinks of ReLU and |.| lie on both sides, of which
a batch of one sample has more. A divisor of another batch, or a gradient that was there before, is
further off."""

_RATIOS = {
    "three times that, as the sum over a step's archs": 3.0,
    "a third of that": 1 / 3,
    "the step goes uphill": -1.0,
}


def gradients_are_slopes(evidence: Walk) -> Outcome:
    """Require the gradients of later steps to be the slopes of their mean losses.

    Raises
    ------
    NotApplicableError
        If no step can be repeated.
    """
    nudged = [step for step in evidence.steps if step.nudges]
    if evidence.steps and not nudged:
        raise NotApplicableError(evidence.nudged or "no step was repeated")
    most = max((step.size for step in evidence.steps), default=1)
    violations, figures = [], []
    for step in nudged:
        expected = gradient_norm(step.gradient)
        slope = nearest_slope(step.nudges or (), expected)
        figures.append(f"{step.name}: {slope:.4g} by differences, norm {expected:.4g}")
        if not (expected > 0 and math.isclose(slope, expected, rel_tol=_SLOPE_TOLERANCE)):
            ratios = {**_RATIOS, "as if divided by the samples of a full batch": most / step.size}
            if most == step.size:
                del ratios["as if divided by the samples of a full batch"]
            what = instead(slope / max(expected, 1e-300), ratios, rel_tol=_SLOPE_TOLERANCE)
            violations.append(
                Violation(
                    f"{step.name}: slope of its mean loss along its gradient",
                    f"{expected:.5g}, the gradient's norm", f"{slope:.5g} by differences{what}",
                    "gradient",
                )
            )  # fmt: skip
    return outcome(violations, len(nudged), "; ".join(figures))


SLOPES = Promise(
    id="later-gradients-of-loss",
    sentence="the gradients of a middle and of a partial step are the slopes of their losses",
    evidence=walk,
    check=gradients_are_slopes,
    hint=(
        "A gradient of an earlier step is still in the accumulator, or the sum is divided by a "
        "number of samples that a partial batch does not have."
    ),
    explained_by=("gradient-of-loss", "micro-batches-weighed", "every-update-is-adam:gradient"),
    varied=True,
)
