"""An update is one step of a rule on a gradient that reaches every option; statistics follow."""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError, UnseenError
from harness.promises.gradients import (
    GRADIENT_TOLERANCE,
    STEP_TOLERANCE,
    gradient_norm,
    gradient_of_first,
)
from harness.promises.one_step import LOSS_TOLERANCE, OneStep, one_step, second_step_gradient
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.promises.several_devices import BATCHES, require_one_device
from harness.promises.statistic_candidates import statistic_after, statistic_instead, statistic_size
from harness.promises.update_candidates import (
    moved,
    norm_of_gradient_instead,
    planned_steps,
    second_moment_instead,
    step_instead,
    weight_rounding,
)
from harness.promises.update_rules import NAMES, decay_beside
from harness.wording import counted

__all__ = [
    "GRADIENT_EVERYWHERE", "MOVING_STATISTICS", "UPDATE_IS_ADAM", "gradient_reaches_every_option",
    "moving_statistics_follow", "update_is_adam",
]  # fmt: skip


_GRADIENT = "gradient"


def update_is_adam(evidence: OneStep) -> Outcome:
    """Require step 2 to be one of the rule, with the planned rate and the reported norm."""
    rule, name_of_rule = evidence.by, NAMES[evidence.by.rule]
    gradient, violations = second_step_gradient(evidence), []
    found_norm = gradient_norm(gradient)
    if not (found_norm > 0 and evidence.lr > 0):
        violations.append(
            Violation("step 2", "a gradient and a learning rate above 0",
                      f"norm {found_norm:.3g}, learning rate {evidence.lr:.3g}", _GRADIENT)
        )  # fmt: skip
    reported = evidence.norm
    if reported is not None and not math.isclose(found_norm, reported, rel_tol=GRADIENT_TOLERANCE):
        violations.append(
            Violation("global norm of step 2", f"{found_norm:.6g}, of the gradient that "
                      f"{name_of_rule}'s moments hold",
                      f"{reported:.6g} reported{norm_of_gradient_instead(evidence)}", "norm")
        )  # fmt: skip
    steps: list[Violation] = []
    planned = planned_steps(evidence, partial(_fits, evidence))
    still = moved(evidence).passed_over
    for name, g in gradient.items():
        # From the moments of step 1 and this gradient: a
        # trainer's own moments vouch for themselves.
        beta, old = rule.betas[1], np.asarray(evidence.first[1][name], np.float64)
        if rule.rule != "sgd" and name not in still:
            violations += _too_far_apart(
                f"second moment of {name}", beta * old + (1 - beta) * g**2,
                evidence.second[1][name], 0.0,
            )  # fmt: skip
        found = evidence.before[name] - np.asarray(evidence.after[name], np.float64)
        floor = weight_rounding(evidence, name)
        steps += _too_far_apart(f"step of {name}", planned[name], found, floor)
    why = step_instead(evidence, partial(_fits, evidence)) if steps else ""
    decayed, untold = list[Violation](), ""
    if evidence.rule is not None:
        decayed, untold = decay_beside(moved(evidence), "step 2")
        by = f", by {name_of_rule} as declared"
        steps = [dataclasses.replace(v, expected=f"{v.expected}{by}") for v in steps]
    violations += decayed
    violations += [dataclasses.replace(v, found=f"{v.found}{why}") for v in steps]
    # What is wrong with every step of a moment says more than where the moment is first seen.
    other = second_moment_instead(evidence, _close) if violations else ""
    violations = [
        dataclasses.replace(v, found=f"{v.found}{other}") if v.where.startswith("second") else v
        for v in violations
    ]
    unreported = "; no norm of a whole update is reported" if reported is None else ""
    weights = f"{counted(len(gradient), 'weight')} moved as {name_of_rule} does"
    figures = f"{weights}, lr {evidence.lr:.4g}{untold}{unreported}"
    return outcome(violations[:6], len(gradient), figures)


def _fits(evidence: OneStep, steps: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether every weight made the step that it is said to have made."""
    return all(
        not _too_far_apart(
            name, step, evidence.before[name] - np.asarray(evidence.after[name], np.float64),
            weight_rounding(evidence, name),
        )
        for name, step in steps.items()
    )  # fmt: skip


def _close(expected: Any, found: Any) -> bool:
    return not _too_far_apart("", expected, found, 0.0)


def _too_far_apart(where: str, expected: Any, found: Any, floor: float) -> list[Violation]:
    """Return a violation if two arrays are further apart than rounding explains."""
    size, distance = float(np.linalg.norm(expected)), float(np.linalg.norm(expected - found))
    if distance <= STEP_TOLERANCE * size + floor:
        return []
    ratio = float(np.linalg.norm(found)) / size if size else math.inf
    what = f"{ratio:.4g} times that, {distance:.3g} away"
    # What moved the weights, and how far it moved them, are two things.
    return [
        Violation(
            where, f"norm {size:.6g}", what, "step" if where.startswith("step") else _GRADIENT
        )
    ]


UPDATE_IS_ADAM = Promise(
    id="update-is-adam",
    sentence="an update is one step of Adam, or of the declared rule, at the planned rate and norm",
    evidence=one_step,
    check=update_is_adam,
    hint=(
        "What moved the weights is not what was logged: another learning rate, other moments, or a"
        " gradient changed after it was measured."
    ),
)


_UNFAIR = "the archs of a step do not run every option of every block"


def gradient_reaches_every_option(evidence: OneStep) -> Outcome:
    """Require more than weight decay in the gradient of every kernel after one fair step."""
    if not evidence.fair:
        raise NotApplicableError(_UNFAIR)
    violations = []
    decays = max(evidence.decay, 0.0 if evidence.by.decoupled else evidence.by.weight_decay)
    for name, own in gradient_of_first(evidence.by, evidence.first[0]).items():
        start = np.asarray(evidence.start[name], np.float64)
        least = 0.01 * decays * np.abs(start).max()
        # A slice that only some archs run has a gradient of its own.
        for where, part in (evidence.parts.get(name) or {name: np.ones(own.shape, bool)}).items():
            g, weights = own[part], start[part]
            if start.ndim == 4 and weights.size > 1:  # decay is a multiple of it, at any rate
                square = max(float(np.square(weights).sum()), 1e-300)
                g = g - weights * (g * weights).sum() / square
            most = float(np.abs(g).max())
            # A bias that normalisation takes out again has the gradient that rounding gives it.
            floor = least if start.ndim > 1 else 0.0
            if not most > floor:
                violations.append(
                    Violation(f"gradient of {where} in a fair step", "more than weight decay, "
                              f"over {floor:.2g}", f"at most {most:.2g} beside it")
                )  # fmt: skip
    figures = f"{counted(len(evidence.first[0]), 'weight')} with a gradient of the loss"
    return outcome(violations[:6], len(evidence.first[0]), figures)


GRADIENT_EVERYWHERE = Promise(
    id="gradient-everywhere",
    sentence="one fair step sends a gradient to every option",
    evidence=one_step,
    check=gradient_reaches_every_option,
    hint="The three archs of a step do not run the options that their codes name.",
    explained_by=("fair-archs", "loss-recomputed:loss", "update-is-adam", "gradient-of-loss"),
)


def moving_statistics_follow(evidence: OneStep) -> Outcome:
    """Require moving statistics to follow the batches of a step's archs with one momentum.

    ``moving - 0.1 * (moving - batch)``, or what is declared in place of 0.1, once per arch that
    runs the unit, in order, the batch's variance corrected by N / (N - 1) (TensorFlow's fused
    kernel).
    """
    require_one_device(evidence.devices, BATCHES)
    if evidence.recalibrated is None:
        msg = "the system recalibrates nothing, so the statistics of its batches are not known"
        raise NotApplicableError(msg)
    if not evidence.fair:
        raise NotApplicableError(_UNFAIR)
    if evidence.recalibrated and not any(recal.inputs for recal in evidence.recalibrated):
        raise UnseenError("no unit's inputs were given (recalibrate(inputs=True))")
    violations, worst, moves = [], 0.0, False
    for name, start in evidence.moving.items():
        unit, _ = name.rsplit("/", 1)
        expected = statistic_after(evidence, name)
        if not any(unit in r.stats and unit in r.inputs for r in evidence.recalibrated):
            violations.append(Violation(name, "an arch of the step that runs it", "none"))
        found, size = evidence.moved[name], statistic_size(expected, name, evidence.recalibrated)
        moves = moves or float(np.linalg.norm(start - expected)) > LOSS_TOLERANCE * size
        error = float(np.linalg.norm(found - expected)) / size
        worst = max(worst, error)
        if not error <= LOSS_TOLERANCE:
            violations.append(
                Violation(f"{name} after a step of three archs", f"{expected.flat[0]:.7g} (first)",
                          f"{np.asarray(found).flat[0]:.7g}, relative distance {error:.1e}"
                          f"{statistic_instead(evidence, name, LOSS_TOLERANCE)}")
            )  # fmt: skip
    if evidence.moving and not moves:
        violations.append(Violation("moving statistics", "batches with others", "the same in each"))
    statistics = counted(len(evidence.moving), "statistic")
    figures = f"{statistics} as three updates give, worst {worst:.1e}"
    return outcome(violations[:6], len(evidence.moving), figures)


MOVING_STATISTICS = Promise(
    id="moving-statistics",
    sentence="moving statistics follow each arch's batch with momentum 0.9, or as declared",
    evidence=one_step,
    check=moving_statistics_follow,
    further=("recalibrate",),
    hint="An update is missing, made twice, of other batches, or has the momentum's complement.",
    explained_by=("unrun-statistics-still", "loss-recomputed:frames", "loss-recomputed:loss"),
)
