"""Every step of two epochs is one of the declared rule, else Adam's, on its own gradient."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.errors import NotApplicableError
from harness.promises.candidates import instead
from harness.promises.gradients import (
    STEP_TOLERANCE,
    WEIGHT_ROUNDING,
    gradient_norm,
    slope_along,
)
from harness.promises.left_gradients import left_of_the_first
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.promises.slopes import nearest_slope
from harness.promises.update_rules import NAMES, decay_beside, planned_moves
from harness.promises.walk import Walk, WalkedStep, walk
from harness.wording import counted

__all__ = [
    "EVERY_UPDATE", "GRADIENTS_GO_ON", "SLOPES", "every_step_is_adam", "gradients_are_slopes",
    "gradients_go_on",
]  # fmt: skip


def _fitted_ratio(planned: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    """Return how many times as far as planned the weights moved, by least squares over all."""
    square = math.fsum(float(np.square(m).sum()) for m in planned.values())
    along = math.fsum(float((found[n] * m).sum()) for n, m in planned.items())
    return along / square if square else math.inf


_RATE_TOLERANCE = 1e-4
"""Relative, of the rate that fits all weights together, in which their rounding averages out: that
of half precision is five times as much, and up to 3e-6 was seen in sound systems."""


def _rounded_rate(step: WalkedStep, planned: Mapping[str, np.ndarray]) -> float:
    """Return by what share the rate that fits may be off, where each weight is rounded.

    At the end of a schedule a step may be shorter than what float32 tells of a weight.
    """
    square = math.fsum(float(np.square(m).sum()) for m in planned.values())
    rounded = (
        float((np.abs(m) * np.abs(np.asarray(step.before[n], np.float64))).sum())
        for n, m in planned.items()
    )
    return _HALF_PLACE * math.fsum(rounded) / square if square else 0.0


_HALF_PLACE = 2.0**-24
"""Of a weight: half of the last place of a float32."""


def every_step_is_adam(evidence: Walk) -> Outcome:
    """Require every step to be one of the declared rule, else Adam's, at its planned rate."""
    violations, untold = list[Violation](), ""
    for step in evidence.steps:
        wrong = list[Violation]()
        if step.rule is not None:
            wrong, untold = decay_beside(step.moved, step.name)
        wrong = wrong or _not_moved_as_planned(step, evidence.rates)
        violations += wrong or _other_second_moment(step)
    if evidence.left:
        violations += left_of_the_first(evidence.left, evidence.steps[1].name)
    rates = [step.lr for step in evidence.steps]
    sizes = ", ".join(str(step.size) for step in evidence.steps)
    figures = (
        f"{counted(len(rates), 'step')} of {sizes} samples, "
        f"lr {max(rates, default=0):.3g} to {min(rates, default=0):.3g}{untold}"
    )
    return outcome(violations[:6], len(rates), figures)


def _not_moved_as_planned(step: WalkedStep, rates: Sequence[float]) -> list[Violation]:
    moved = step.moved
    forms = [
        planned_moves(moved, corrected=corrected, own_number=own)
        # Where no step passed a weight over, its own steps are all steps.
        for own in ((False, True) if set(moved.numbers.values()) - {moved.number} else (False,))
        for corrected in (False, True)
    ]
    found = moved.moves
    if not gradient_norm(step.gradient) > 0:
        return [Violation(step.name, "a gradient above 0", "none", "gradient")]
    # With epsilon where TensorFlow has it, or where PyTorch does: a tiny gradient tells them apart.
    off = [_weights_off(step, planned, found) for planned in forms]
    place = min(range(len(off)), key=lambda form: len(off[form]))
    planned, wrong = forms[place], off[place]
    # The rate that fits best, where a rate is what differs.
    ratio = _fitted_ratio(planned, found)
    either = [_fitted_ratio(form, found) for form in forms]
    allowed = _RATE_TOLERANCE + _rounded_rate(step, planned)
    if not wrong and step.lr and min(abs(one - 1) for one in either) > allowed:
        wrong = list(planned)
    if not wrong:
        return []
    if not step.lr:  # a warmup that begins at 0
        return [Violation(f"{step.name}, {wrong[0]}", "no move at a planned rate of 0", "a move",
                          "step")]  # fmt: skip
    others = {
        f"that of step {i + 1} of the run": rate for i, rate in enumerate(rates)
        if not math.isclose(rate, step.lr, rel_tol=STEP_TOLERANCE)
    }  # fmt: skip
    # Of some weights alone, such as a group with a rate of its own, it is theirs.
    ratio = _fitted_ratio({n: planned[n] for n in wrong}, found)
    what = instead(ratio * step.lr, others, rel_tol=STEP_TOLERANCE)
    return [
        Violation(
            f"{step.name}, {len(wrong)} of {len(planned)} weights such as {wrong[0]}",
            f"moved by {NAMES[step.by.rule]} at the planned rate of {step.lr:.6g}",
            f"{ratio:.4g} times as far, a rate of {ratio * step.lr:.6g}{what}", "step",
        )
    ]  # fmt: skip


def _weights_off(
    step: WalkedStep, planned: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> list[str]:
    """Return the weights that moved otherwise than planned, further than rounding explains."""
    return [
        name for name, move in planned.items()
        if not np.linalg.norm(found[name] - move) <= STEP_TOLERANCE * np.linalg.norm(move)
        + WEIGHT_ROUNDING * np.linalg.norm(np.asarray(step.before[name], np.float64))
    ]  # fmt: skip


def _other_second_moment(step: WalkedStep) -> list[Violation]:
    """Return whether Adam's second moment took in another gradient than its first."""
    if step.by.rule == "sgd":
        return []
    beta, still = step.by.betas[1], step.moved.passed_over
    for name, g in step.gradient.items():
        if name in still:
            continue
        old = np.asarray(step.old[1][name], np.float64)
        expected = beta * old + (1 - beta) * np.square(g)
        found = np.asarray(step.new[1][name], np.float64)
        distance, size = np.linalg.norm(found - expected), float(np.linalg.norm(expected))
        if not distance <= STEP_TOLERANCE * size:
            where = f"{step.name}, second moment of {name}"
            text = f"{float(np.linalg.norm(found)) / size if size else math.inf:.4g} times that"
            return [Violation(where, f"norm {size:.6g}", text, "gradient")]
    return []


EVERY_UPDATE = Promise(
    id="every-update-is-adam",
    sentence="every step of two epochs is one of Adam, or of the declared rule, at its rate",
    evidence=walk,
    check=every_step_is_adam,
    hint=(
        "Later steps are made otherwise than the first: a rate that changes once an epoch, moments "
        "that start again, an update that is left out, a gradient that is not set to zero."
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
        expected = slope_along(step.by, step.gradient, step.before)
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


def gradients_go_on(evidence: Walk) -> Outcome:
    """Require of each weight that had a gradient of the loss in epoch 1 that it has one in epoch 2.

    In one step of either at least: a layer may be dead in a batch. No step leaves all moving
    statistics as they were, if the first one moves some; who tells the modes of modules freezes
    them by design.
    """
    had, has = (
        {n for s in evidence.steps if s.epoch == epoch for n in s.gradient if _beside_decay(s, n)}
        for epoch in (1, 2)
    )
    steps = sum(step.epoch == 2 for step in evidence.steps)
    violations = [
        Violation(f"gradient of {name} in {counted(steps, 'step')} of epoch 2",
                  "one of the loss, as in epoch 1", "none but decay", "gradient")
        for name in sorted(had - has - evidence.optional)
    ]  # fmt: skip
    violations += [] if evidence.modes else _left_behind(evidence.steps)
    figures = f"{counted(len(had & has), 'weight')} with a gradient in both epochs"
    return outcome(violations[:6], len(had) if steps else 0, figures)


def _left_behind(steps: Sequence[WalkedStep]) -> list[Violation]:
    """Return the steps that leave all moving statistics as they were, unlike the first one."""
    own = steps[0].followed if steps else frozenset[str]()
    # All of them: which units a step runs, a net may draw.
    return [
        Violation(f"moving statistics in {step.name}",
                  f"{counted(len(own), 'statistic')} followed, as in step 1 of epoch 1",
                  "all as they were", "statistics")
        for step in steps
        if own and not own & step.followed
    ]  # fmt: skip


def _beside_decay(step: WalkedStep, name: str) -> bool:
    """Return whether a weight's gradient is more than a multiple of the weight, which decay is."""
    gradient, weight = (np.asarray(a, np.float64) for a in (step.gradient[name], step.before[name]))
    # What the moments round: the gradient is the difference of two of them.
    floor = _ROUNDING * float(np.abs(step.old[0][name]).max())
    if weight.ndim == 4 and weight.size > 1:
        square = max(float(np.square(weight).sum()), 1e-300)
        gradient = gradient - weight * float((gradient * weight).sum()) / square
    return float(np.abs(gradient).max()) > floor


_ROUNDING = 1e-5
"""Of the moment before: its float32 rounding, ten times over as a gradient, and some more."""


GRADIENTS_GO_ON = Promise(
    id="gradients-go-on",
    sentence="a weight with a gradient in epoch 1 has one in epoch 2; statistics follow each step",
    evidence=walk,
    check=gradients_go_on,
    hint=(
        "After the first evaluation a layer is no longer trained: requires_grad or trainable is "
        "not set back, or the layer is reached through what detaches it. Or its units are 0 for "
        "every input by then, as under a rate that is far too high. Or a batch that is not full "
        "moves no statistic."
    ),
    explained_by=("every-update-is-adam", "later-gradients-of-loss"),
)
