"""The training loss is that of the outputs, and its slope is the gradient."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError, UnseenError
from harness.promises.candidates import instead
from harness.promises.final_losses import final_loss, other_final_losses
from harness.promises.gradients import gradient_norm, slope_along
from harness.promises.independent_epe import resize_legacy_bilinear
from harness.promises.one_step import LOSS_TOLERANCE, OneStep, nudged_gradient, one_step
from harness.promises.own_slopes import no_slope
from harness.promises.pixel_differences import first_pixel_differences
from harness.promises.promise import Outcome, Promise, Violation, outcome, with_shown
from harness.promises.several_devices import BATCHES, require_one_device
from harness.promises.shown import Row, values_beside
from harness.promises.slopes import nearest_slope
from harness.systems.declared import OWN_LOSSES
from harness.wording import counted

__all__ = [
    "GRADIENT_OF_LOSS",
    "LOSS_RECOMPUTED",
    "gradient_is_the_losses",
    "independent_loss",
    "loss_is_recomputed",
]


_LOSS = "loss"
"""Kind of a breach that is not of the labels, which another promise explains."""


_SCALES = (0.125, 0.25, 0.5)

_CHANNELS = 4
"""Flow and its log-variance, each of two components."""


_SLOPE_TOLERANCE = 0.03
"""Relative error of a difference of losses in float32, between kinks of ReLU and |.|."""


def _softplus(x: NDArray[Any]) -> NDArray[np.float64]:
    return np.logaddexp(0.0, np.asarray(x, np.float64))


def independent_loss(
    outputs: Sequence[NDArray[Any]], label: NDArray[Any], valid: NDArray[Any], *,
    scales: Sequence[float] = _SCALES, uncertain: bool = True, added_up: bool = True,
) -> float:  # fmt: skip
    """Return EdgeFlowNAS's multi-scale uncertainty loss without weight decay, in float64.

    Per scale: mean |flow - label| + mean(|flow - label| / sigma) + mean(softplus(logvar)),
    sigma = max(softplus(logvar + 1e-3), 1e-3), over valid pixels, with accumulated flow and
    logvar; scales weigh 0.125, 0.25, 0.5.

    Parameters
    ----------
    scales : sequence of float
        Other weights of the scales, to name a loss that has them.
    uncertain, added_up : bool
        Without the terms of the uncertainty, and without adding residuals up, for the same.
    """
    weight = valid.astype(np.float64)[..., np.newaxis]
    total, running = 0.0, np.asarray(outputs[0], np.float64)
    for index, residual in enumerate(outputs):
        size = (residual.shape[1], residual.shape[2])
        if not added_up:
            running = np.asarray(residual, np.float64)
        elif index:
            running = resize_legacy_bilinear(running, size) + residual
        # Unknown pixels stay out of the label's resize too: a weighted mean over what is known.
        share = resize_legacy_bilinear(weight, size)
        target = resize_legacy_bilinear(label * weight, size) / np.where(share > 0, share, 1.0)
        difference = np.abs(running[..., :2] - target)
        sigma = np.maximum(_softplus(running[..., 2:] + 1e-3), 1e-3)
        terms = difference
        if uncertain:
            terms = terms + difference / sigma + _softplus(running[..., 2:])
        known = np.broadcast_to(share > 0, terms.shape)
        means = (terms * known).sum((1, 2, 3)) / np.maximum(known.sum((1, 2, 3)), 1)
        total += scales[index] * float(means.mean())
    return total


def loss_is_recomputed(evidence: OneStep) -> Outcome:
    """Require the training loss equal to one recomputed from the outputs by other code.

    Raises
    ------
    NotApplicableError
        If the system records no losses, declares one of its own or several devices, or cannot be
        asked for training's outputs.
    """
    if evidence.loss in OWN_LOSSES:
        raise NotApplicableError("the system declares a loss of its own (describe()['loss'])")
    require_one_device(evidence.devices, BATCHES)
    outputs = _outputs(evidence)
    batch, violations, worst = evidence.batch, _nothing_to_tell(evidence, outputs), 0.0
    violations += _other_pixels(evidence)
    kernels = [w for w in evidence.before.values() if w.ndim == 4]
    # TensorFlow's l2_loss is half the sum of squares;
    # EdgeFlowNAS decays all kernels, chosen or not.
    decay = evidence.decay * sum(0.5 * float(np.square(k, dtype=np.float64).sum()) for k in kernels)
    decay = 0.0 if evidence.loss else decay  # of a declared loss it is the optimizer's
    if len(evidence.losses) != len(evidence.archs):
        violations.append(
            Violation(
                "losses of the step", f"{len(evidence.archs)}", f"{len(evidence.losses)}", _LOSS
            )
        )
    said = f" (weight decay {decay:.3g} included)"
    said = f", {evidence.loss} as declared" if evidence.loss else said
    rows = list[Row]()
    for arch, found in zip(evidence.archs, evidence.losses, strict=False):
        given = (outputs[arch], batch.flow, batch.valid)
        own = final_loss(evidence.loss, *given) if evidence.loss else independent_loss(*given)
        expected = own + decay
        error = abs(found - expected) / max(abs(expected), 1e-300)
        worst = max(worst, error)
        # Not `>`: a NaN must count as wrong.
        rows.append(Row(f"arch {arch}", expected, found, not error <= LOSS_TOLERANCE))
        if rows[-1].wrong:
            violations.append(
                Violation(f"training loss of arch {arch}", f"{expected:.7g}{said}",
                          f"{found:.7g} (relative {error:.1e})"
                          f"{_instead(evidence, outputs, arch, found, decay)}", _LOSS)
            )  # fmt: skip
    if any(row.wrong for row in rows):
        names = ("recomputed", "reported")
        violations = with_shown(
            violations, lambda: (values_beside("training loss", "", rows, names),)
        )
    figures = f"{counted(len(evidence.losses), 'loss')}, worst relative error {worst:.1e}"
    return outcome(violations[:6], len(evidence.losses), figures)


def _instead(
    evidence: OneStep, outputs_of: Mapping[str, Sequence[NDArray[Any]]], arch: str, found: float,
    decay: float,
) -> str:  # fmt: skip
    """Return what an arch's loss is instead, in words."""
    label, valid = evidence.batch.flow, evidence.batch.valid
    if evidence.loss:
        others = other_final_losses(evidence.loss, outputs_of[arch], label, valid)
        return instead(found, others, rel_tol=LOSS_TOLERANCE)

    def loss(code: str = arch, **options: Any) -> float:
        mask = np.ones_like(valid) if options.pop("unmasked", False) else valid
        outputs = outputs_of[code]
        if options.pop("fine", False):
            outputs = [*(np.zeros_like(output) for output in outputs[:-1]), outputs[-1]]
        return independent_loss(outputs, label, mask, **options)

    own, count = loss(), len(outputs_of[arch])
    alone = [*([0.0] * (count - 1)), _SCALES[count - 1]]
    all_archs = [loss(code) for code in evidence.archs]
    losses = {
        "the last scale alone": loss(scales=alone),
        "the last residual alone": loss(scales=alone, added_up=False),
        "the last residual alone, the coarser outputs taken for 0": loss(fine=True),
        "without its last scale": loss(scales=[*_SCALES[: count - 1], 0.0]),
        "scales of one weight, 1": loss(scales=[1.0] * count),
        "scales of one weight, their mean": loss(scales=[1.0 / count] * count),
        "fine and coarse scales exchanged": loss(scales=_SCALES[:count][::-1]),
        "residuals not added up": loss(added_up=False),
        "without the terms of the uncertainty": loss(uncertain=False),
        "unknown pixels counted, with a flow of 0": loss(unmasked=True),
        "the mean over the step's archs": sum(all_archs) / len(all_archs),
        "the sum over the step's archs": sum(all_archs),
        "the sum over the batch, not its mean": own * len(label),
        "half of it": own / 2,
        "twice that": own * 2,
    }
    # Named before those above without decay, which are two faults and not one.
    candidates = {
        "without the weight decay": own,
        "the weight decay counts twice, as squares that are not halved": own + 2 * decay,
        **{f"that of arch {code}": loss(code) + decay for code in evidence.archs if code != arch},
        **{name: value + decay for name, value in losses.items()},
        **{f"{name}, and without the weight decay": value for name, value in losses.items()},
    }
    return instead(found, candidates, rel_tol=LOSS_TOLERANCE)


def _outputs(evidence: OneStep) -> Mapping[str, Sequence[NDArray[Any]]]:
    """Return the outputs that the losses are of."""
    if evidence.archs and not evidence.losses:
        msg = "the system records no losses (Training.losses)"
        raise NotApplicableError(msg)
    if evidence.outputs is None:
        msg = (
            "the system predicts with the statistics that it holds and recalibrates nothing, so "
            "that its outputs are not those of training"
        )
        raise NotApplicableError(msg)
    if evidence.loss:
        return evidence.outputs
    for arch, outputs in evidence.outputs.items():
        channels = sorted({output.shape[-1] for output in outputs})
        if len(outputs) != len(_SCALES) or channels != [_CHANNELS]:
            msg = (
                f"the loss is known of {len(_SCALES)} outputs of {_CHANNELS} channels; arch {arch} "
                f"has {len(outputs)} of {', '.join(map(str, channels)) or 'none'}"
            )
            raise UnseenError(msg)  # another net's loss is its own
    return evidence.outputs


def _other_pixels(evidence: OneStep) -> list[Violation]:
    """Return how the first wrong sample of the batch differs from the files."""
    batch = evidence.batch
    for position, window in enumerate(batch.windows):
        found = first_pixel_differences(
            batch, position, window, evidence.decoded, evidence.flow_clip
        )
        # Of one sample alone: those of a whole batch would push the losses out of sight.
        if found:
            return found
    return []


LOSS_RECOMPUTED = Promise(
    id="loss-recomputed",
    sentence="the training loss is that of the outputs, the labels and the decay",
    evidence=one_step,
    check=loss_is_recomputed,
    further=("Training.losses",),
    hint=(
        "Training sees other inputs or labels than evaluation, or its loss lacks a scale, the "
        "uncertainty, the mask or the weight decay."
    ),
    # Outputs are predicted with the statistics that recalibration gives; labels are as served.
    explained_by=(
        "recal-effective:no effect",
        "recal-effective:past",
        "unknown-flow-masked",
        "train-draws-declared",
        "eval-crop-centred",
    ),
)


def _nothing_to_tell(
    evidence: OneStep, outputs: Mapping[str, Sequence[NDArray[Any]]]
) -> list[Violation]:
    """Report a batch or outputs so uniform that a wrong loss could come out the same."""
    violations = [
        Violation(
            f"output {scale} of arch {arch}", "different values", "one value everywhere", _LOSS
        )
        for arch, scales in outputs.items()
        for scale, output in enumerate(scales)
        if np.ptp(output) == 0
    ]
    if not evidence.batch.valid.any():
        violations.append(Violation("batch of step 2", "valid pixels", "none", _LOSS))
    return violations


def gradient_is_the_losses(evidence: OneStep) -> Outcome:
    """Require the gradient to be the slope of the reported loss, by its differences."""
    if reason := no_slope(evidence.clip, evidence.loss):
        raise NotApplicableError(reason)
    if evidence.nudged is None:
        msg = (
            "a restored run trains other archs, has another loss or records none, so that it says "
            "nothing about the step's"
        )
        raise NotApplicableError(msg)
    gradient, length = nudged_gradient(evidence), min(way.length for way in evidence.nudged)
    weights = evidence.before if evidence.nudged_step == 2 else evidence.start
    expected = slope_along(evidence.by, gradient, weights)
    if not (gradient_norm(gradient) > 0 and length > 0):
        nothing = Violation("weights moved along the gradient", "a gradient and a way above 0",
                            f"norm {expected:.3g}, {length:.3g} forth and back")  # fmt: skip
        return outcome([nothing], len(gradient), "no slope")
    # A long way crosses kinks, a short one drowns in rounding: the better of both counts.
    slope = nearest_slope(evidence.nudged, expected)
    violations, ratio = [], slope / expected if expected else math.inf
    if not math.isclose(slope, expected, rel_tol=_SLOPE_TOLERANCE):
        violations.append(
            Violation("slope of the mean loss along the gradient", f"{expected:.5g}, its norm",
                      f"{slope:.5g} by differences over {length:.2g} forth and back"
                      f"{instead(ratio, _RATIOS, rel_tol=_SLOPE_TOLERANCE)}")
        )  # fmt: skip
    figures = f"slope {slope:.5g} by differences, norm {expected:.5g}"
    return outcome(violations, len(gradient), figures)


_RATIOS = {
    "three times that, as the sum over a step's archs": 3.0,
    "a third of that, as a gradient that is summed over a step's archs": 1 / 3,
    "the step goes uphill": -1.0,
}


GRADIENT_OF_LOSS = Promise(
    id="gradient-of-loss",
    sentence="the gradient is the slope of the reported loss",
    evidence=one_step,
    check=gradient_is_the_losses,
    further=("Training.losses",),
    hint="The loss that is logged is not the one that is minimised, or part of it is detached.",
    explained_by=("loss-recomputed:loss", "update-is-adam:gradient"),
)
