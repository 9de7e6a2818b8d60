"""One training step, recomputed from what it left behind."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evidence.stepping import Accumulation, OneStep, StepRun
from harness.relations.base import NotApplicableError, Outcome, Violation, outcome
from harness.relations.data import first_pixel_differences
from harness.relations.metric import resize_legacy_bilinear

__all__ = [
    "clip_is_applied",
    "gradient_is_the_losses",
    "gradient_reaches_every_option",
    "independent_loss",
    "loss_is_recomputed",
    "micro_batches_weigh_by_samples",
    "moving_statistics_follow",
    "update_is_adam",
]

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_SCALES = (0.125, 0.25, 0.5)
_LOSS = 1e-4
"""Relative; float32 graph against float64 NumPy."""
_STEP = 2e-3
"""Relative to the length of a variable's step: moments are stored in float32."""
_GRADIENT = 1e-3
"""Relative distance of two gradients that must agree but for rounding."""
_COPIES = 0.05
"""The same for micro-batches of other sizes: rounding differs, and one ReLU that flips moved
the gradient by 1 % (as nudging the weights by a relative 1e-6 did). Faults move it by 20 %."""
_MIXED = 0.04
"""The same where one of three micro-batches has another size: 2.3 % was the most seen over 50
random configurations. Weighing three micro-batches alike moves the gradient by 13 % of what sets
A and B apart."""
_APART = 0.6
"""Relative distance of A's and B's gradients from which on that is twice the allowance."""
_SLOPE = 0.03
"""Relative error of a central difference across ReLU and |.| kinks."""

Gradient = Mapping[str, NDArray[Any]]


def _softplus(x: NDArray[Any]) -> NDArray[np.float64]:
    return np.logaddexp(0.0, np.asarray(x, np.float64))


def independent_loss(
    outputs: Sequence[NDArray[Any]], label: NDArray[Any], valid: NDArray[Any]
) -> float:
    """Return EdgeFlowNAS's multi-scale uncertainty loss without weight decay, in float64.

    Per scale: mean |flow - label| + mean(|flow - label| / sigma) + mean(softplus(logvar)),
    sigma = max(softplus(logvar + 1e-3), 1e-3), over valid pixels, with accumulated flow and
    logvar; scales weigh 0.125, 0.25, 0.5.
    """
    weight = valid.astype(np.float64)[..., np.newaxis]
    total, running = 0.0, np.asarray(outputs[0], np.float64)
    for index, residual in enumerate(outputs):
        size = (residual.shape[1], residual.shape[2])
        if index:
            running = resize_legacy_bilinear(running, size) + residual
        share = resize_legacy_bilinear(weight, size)
        target = resize_legacy_bilinear(label * weight, size) / np.where(share > 0, share, 1.0)
        difference = np.abs(running[..., :2] - target)
        sigma = np.maximum(_softplus(running[..., 2:] + 1e-3), 1e-3)
        terms = difference + difference / sigma + _softplus(running[..., 2:])
        known = np.broadcast_to(share > 0, terms.shape)
        means = (terms * known).sum((1, 2, 3)) / np.maximum(known.sum((1, 2, 3)), 1)
        total += _SCALES[index] * float(means.mean())
    return total


def loss_is_recomputed(evidence: OneStep) -> Outcome:
    """Require the training loss equal to one recomputed from the outputs by other code."""
    batch, violations, worst = evidence.batch, _nothing_to_tell(evidence), 0.0
    for position, window in enumerate(batch.windows):
        violations += first_pixel_differences(
            batch, position, window, evidence.decoded, evidence.flow_clip
        )
    kernels = [w for w in evidence.before.values() if w.ndim == 4]
    decay = evidence.decay * sum(0.5 * float(np.square(k, dtype=np.float64).sum()) for k in kernels)
    if len(evidence.losses) != len(evidence.archs):
        violations.append(
            Violation("losses of the step", f"{len(evidence.archs)}", f"{len(evidence.losses)}")
        )
    for arch, found in zip(evidence.archs, evidence.losses, strict=False):
        expected = independent_loss(evidence.outputs[arch], batch.flow, batch.valid) + decay
        error = abs(found - expected) / max(abs(expected), 1e-300)
        worst = max(worst, error)
        if not error <= _LOSS:
            violations.append(
                Violation(f"training loss of arch {arch}", f"{expected:.7g} (weight decay "
                          f"{decay:.3g} included)", f"{found:.7g} (relative {error:.1e})")
            )  # fmt: skip
    figures = f"{len(evidence.losses)} losses, worst relative error {worst:.1e}"
    return outcome(violations[:6], len(evidence.losses), figures)


def _nothing_to_tell(evidence: OneStep) -> list[Violation]:
    """Report a batch or outputs so uniform that a wrong loss could come out the same."""
    violations = [
        Violation(f"output {scale} of arch {arch}", "different values", "one value everywhere")
        for arch, outputs in evidence.outputs.items()
        for scale, output in enumerate(outputs)
        if np.ptp(output) == 0
    ]
    if not evidence.batch.valid.any():
        violations.append(Violation("batch of step 2", "valid pixels", "none"))
    return violations


def _gradients(evidence: OneStep) -> dict[str, NDArray[np.float64]]:
    """Return step 2's gradient from Adam's first moments."""
    old, new = evidence.first[0], evidence.second[0]
    return {
        name: (np.asarray(new[name], np.float64) - _BETA_1 * np.asarray(old[name], np.float64))
        / (1 - _BETA_1)
        for name in new
    }


def _norm(gradient: Gradient) -> float:
    """Return the global norm, in float64."""
    return math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradient.values()))


def update_is_adam(evidence: OneStep) -> Outcome:
    """Require step 2 to be one Adam step with the planned rate and the reported norm."""
    gradient, violations = _gradients(evidence), []
    found_norm = _norm(gradient)
    if not (found_norm > 0 and evidence.lr > 0):
        violations.append(
            Violation("step 2", "a gradient and a learning rate above 0",
                      f"norm {found_norm:.3g}, learning rate {evidence.lr:.3g}")
        )  # fmt: skip
    if not math.isclose(found_norm, evidence.norm, rel_tol=_GRADIENT):
        violations.append(
            Violation("global norm of step 2", f"{found_norm:.6g}, of the gradient that Adam's "
                      "moments hold", f"{evidence.norm:.6g} reported")
        )  # fmt: skip
    correction = math.sqrt(1 - _BETA_2**2) / (1 - _BETA_1**2)
    for name, g in gradient.items():
        second = _BETA_2 * np.asarray(evidence.first[1][name], np.float64) + (1 - _BETA_2) * g**2
        violations += _far(f"second moment of {name}", second, evidence.second[1][name], 0.0)
        old = np.asarray(evidence.before[name], np.float64)
        step = (
            evidence.lr
            * correction
            * evidence.second[0][name]
            / (np.sqrt(np.maximum(np.asarray(evidence.second[1][name], np.float64), 0)) + _EPSILON)
        )
        floor = 4e-7 * float(np.linalg.norm(old))  # float32 rounding of the weight itself
        violations += _far(f"step of {name}", step, old - evidence.after[name], floor)
    figures = f"{len(gradient)} weights moved as Adam does, lr {evidence.lr:.4g}"
    return outcome(violations[:6], len(gradient), figures)


def _far(where: str, expected: Any, found: Any, floor: float) -> list[Violation]:
    """Return a violation if two arrays are further apart than rounding explains."""
    size, distance = float(np.linalg.norm(expected)), float(np.linalg.norm(expected - found))
    if distance <= _STEP * size + floor:
        return []
    ratio = float(np.linalg.norm(found)) / size if size else math.inf
    return [Violation(where, f"norm {size:.6g}", f"{ratio:.4g} times that, {distance:.3g} away")]


def gradient_is_the_losses(evidence: OneStep) -> Outcome:
    """Require the gradient to be the slope of the reported loss, by a central difference."""
    if evidence.nudged is None:
        msg = "a restored run trains other archs, so its loss says nothing about the step's"
        raise NotApplicableError(msg)
    gradient, length = _gradients(evidence), min(way[0] for way in evidence.nudged)
    expected = _norm(gradient)
    if not (expected > 0 and length > 0):
        nothing = Violation("weights moved along the gradient", "a gradient and a way above 0",
                            f"norm {expected:.3g}, {length:.3g} forth and back")  # fmt: skip
        return outcome([nothing], len(gradient), "no slope")
    # A long way crosses kinks, a short one drowns in rounding: the better of both counts.
    slopes = [((forth - back) / (2 * way), way) for way, forth, back in evidence.nudged]
    slope, length = min(slopes, key=lambda pair: abs(pair[0] - expected))
    violations = []
    if not math.isclose(slope, expected, rel_tol=_SLOPE):
        violations.append(
            Violation("slope of the mean loss along the gradient", f"{expected:.5g}, its norm",
                      f"{slope:.5g} by a central difference over {2 * length:.2g}")
        )  # fmt: skip
    figures = f"slope {slope:.5g} by differences, norm {expected:.5g}"
    return outcome(violations, len(gradient), figures)


def gradient_reaches_every_option(evidence: OneStep) -> Outcome:
    """Require more than weight decay in the gradient of every kernel after one fair step."""
    violations = []
    for name, moment in evidence.first[0].items():
        start = np.asarray(evidence.start[name], np.float64)
        own = np.asarray(moment, np.float64) / (1 - _BETA_1)
        if start.ndim == 4 and start.size > 1:  # decay, whatever its rate, is a multiple of it
            own = own - start * (own * start).sum() / max(float(np.square(start).sum()), 1e-300)
        least, most = 0.01 * evidence.decay * np.abs(start).max(), float(np.abs(own).max())
        if not most > least:
            violations.append(
                Violation(f"gradient of {name} in a fair step", "more than weight decay, "
                          f"over {least:.2g}", f"at most {most:.2g} beside it")
            )  # fmt: skip
    figures = f"{len(evidence.first[0])} weights have a gradient of the loss"
    return outcome(violations[:6], len(evidence.first[0]), figures)


def _of_batch(inputs: NDArray[Any], index: int) -> NDArray[np.float64]:
    """Return the mean (index 0) or variance (1) of a unit's input by channel, in float64."""
    values = np.asarray(inputs, np.float64).reshape(-1, inputs.shape[-1])
    found: NDArray[np.float64] = values.var(axis=0) if index else values.mean(axis=0)
    return found


def moving_statistics_follow(evidence: OneStep) -> Outcome:
    """Require moving statistics to follow the batches of a step's archs with momentum 0.9.

    ``moving - 0.1 * (moving - batch)`` once per arch that runs the unit, in order, the
    batch's variance corrected by N / (N - 1) (TensorFlow's fused kernel).
    """
    if evidence.recalibrated is None:
        msg = "the system recalibrates nothing, so the statistics of its batches are not known"
        raise NotApplicableError(msg)
    violations, worst, moves = [], 0.0, False
    for name, start in evidence.moving.items():
        unit, kind = name.rsplit("/", 1)
        expected = np.asarray(start, np.float64)
        if not any(unit in r.stats and unit in r.inputs for r in evidence.recalibrated):
            violations.append(Violation(name, "an arch of the step that runs it", "none"))
        for recal in evidence.recalibrated:
            if unit in recal.stats and unit in recal.inputs:
                count = recal.inputs[unit][0][..., 0].size
                index = 0 if kind == "moving_mean" else 1
                batch = _of_batch(recal.inputs[unit][0], index) * (
                    count / (count - 1) if index else 1.0
                )
                expected = expected - 0.1 * (expected - batch)
        found, size = evidence.moved[name], max(float(np.linalg.norm(expected)), 1e-6)
        moves = moves or float(np.linalg.norm(start - expected)) > _LOSS * size
        error = float(np.linalg.norm(found - expected)) / size
        worst = max(worst, error)
        if not error <= _LOSS:
            violations.append(
                Violation(f"{name} after a step of three archs", f"{expected.flat[0]:.7g} (first)",
                          f"{np.asarray(found).flat[0]:.7g}, relative distance {error:.1e}")
            )  # fmt: skip
    if evidence.moving and not moves:
        violations.append(Violation("moving statistics", "batches with others", "the same in each"))
    figures = f"{len(evidence.moving)} statistics as three updates give, worst {worst:.1e}"
    return outcome(violations[:6], len(evidence.moving), figures)


def _distance(one: Gradient, other: Gradient) -> float:
    difference = {n: np.asarray(one[n], np.float64) - other[n] for n in one}
    return _norm(difference) / max(_norm(one), 1e-300)


def _combined(terms: Sequence[tuple[float, Gradient]]) -> dict[str, NDArray[np.float64]]:
    return {n: np.asarray(sum(w * g[n] for w, g in terms), np.float64) for n in terms[0][1]}


def micro_batches_weigh_by_samples(evidence: Accumulation) -> Outcome:
    """Require accumulated gradients to weigh every sample alike.

    Copies of one sample give the same gradient in one micro-batch and in three uneven ones;
    four copies of A and one of B give 0.8 of A's gradient and 0.2 of B's.

    Raises
    ------
    NotApplicableError
        If the two samples' gradients are too much alike to tell.
    """
    same_archs = {run.archs for run in (evidence.whole, evidence.pieces, evidence.other,
                                        evidence.mixed)}  # fmt: skip
    violations = []
    if len(same_archs) != 1:
        violations.append(
            Violation("archs of the first step", "the same in each run", str(same_archs))
        )
    weighed = _combined([(0.8, evidence.pieces.gradient), (0.2, evidence.other.gradient)])
    cases = (
        ("A, A | A, A | A", evidence.whole.gradient, evidence.pieces, _COPIES),
        ("A, A | A, A | B", weighed, evidence.mixed, _MIXED),
    )
    found = []
    for name, expected, run, allowed in cases:
        distance = _distance(expected, run.gradient)
        found.append(f"{distance:.1e}")
        if not distance <= allowed:
            ratio = _norm(run.gradient) / max(_norm(expected), 1e-300)
            violations.append(
                Violation(f"gradient of {name}", f"norm {_norm(expected):.6g}",
                          f"{ratio:.4g} times that, relative distance {distance:.2g}")
            )  # fmt: skip
    whole = len(evidence.whole.losses)
    for name, run in (("A, A | A, A | A", evidence.pieces), ("A, A | A, A | B", evidence.mixed)):
        if not len(run.losses) == 3 * whole > 0:
            violations.append(
                Violation(f"micro-batches of {name}", f"3 times the {whole} of A, A, A, A, A",
                          f"{len(run.losses)}")
            )  # fmt: skip
    told = _distance(evidence.pieces.gradient, evidence.other.gradient)
    if told < 0.01:
        violations.append(Violation("samples A and B", "different gradients", f"{told:.1g} apart"))
    elif told < _APART and not violations:
        msg = f"the gradients of the first two samples are {told:.2g} apart, {_APART} is needed"
        raise NotApplicableError(msg)
    return outcome(violations, len(evidence.whole.gradient), f"two laws, distances {found}")


def clip_is_applied(evidence: Accumulation) -> Outcome:
    """Require what is applied to be what the clip gave: its length bounded, its direction kept."""
    threshold, violations = evidence.threshold, []
    free, update, micro = evidence.whole, evidence.clipped_update, evidence.clipped_micro
    length = _norm(free.gradient)
    if not 0 < threshold < length:
        nothing = Violation("clip threshold", f"above 0 and below the norm {length:.6g}",
                            f"{threshold:.6g}: nothing is clipped")  # fmt: skip
        return outcome([nothing], len(free.gradient), "no clip")
    if update is not None:
        violations += _clipped_update(free, update, threshold, length)
    if micro is not None:
        violations += _clipped_micro(micro, threshold)
    runs = [run for run in (update, micro) if run is not None]
    one = "" if len(runs) == 2 else f" per {'update' if micro is None else 'micro-step'} alone"
    figures = f"threshold {threshold:.4g} of {length:.4g}, applied as reported{one}"
    return outcome(violations[:6], sum(len(run.checks) for run in runs), figures)


def _clipped_update(
    free: StepRun, update: StepRun, threshold: float, length: float
) -> list[Violation]:
    violations = _counted("update", update, 1)
    expected = {n: g * threshold / length for n, g in free.gradient.items()}
    distance = _distance(expected, update.gradient)
    if not distance <= _GRADIENT:
        violations.append(
            Violation("gradient clipped per update", f"norm {threshold:.6g}, same direction",
                      f"norm {_norm(update.gradient):.6g}, relative distance {distance:.2g}")
        )  # fmt: skip
    return violations + _reported("update", update, threshold)


def _clipped_micro(micro: StepRun, threshold: float) -> list[Violation]:
    violations = _counted("micro-step", micro, len(micro.losses))
    bound = sum(min(c.before, threshold) for c in micro.checks) / max(len(micro.checks), 1)
    found = _norm(micro.gradient)
    if not 0 < found <= bound * (1 + _GRADIENT):
        violations.append(
            Violation("gradient clipped per micro-step", f"norm at most {bound:.6g}, the mean "
                      "of what the checks leave", f"norm {found:.6g}")
        )  # fmt: skip
    return violations + _reported("micro-step", micro, threshold)


def _counted(position: str, run: StepRun, planned: int) -> list[Violation]:
    if len(run.checks) == planned > 0:
        return []
    where = f"checks of a step clipped per {position}"
    return [Violation(where, f"{planned}", f"{len(run.checks)}")]


def _reported(position: str, run: StepRun, threshold: float) -> list[Violation]:
    return [
        Violation(f"norm after a check per {position}", f"at most {threshold:.6g}",
                  f"{check.after:.6g}")
        for check in run.checks
        if not check.after <= threshold * (1 + 1e-5)
    ]  # fmt: skip
