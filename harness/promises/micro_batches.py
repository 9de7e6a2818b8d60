"""Uneven micro-batches weigh by their samples, and what was clipped is what is applied."""

from collections.abc import Sequence

from harness.errors import NotApplicableError
from harness.promises.first_steps import accumulation
from harness.promises.gradient_candidates import clipped_instead, gradient_distance
from harness.promises.gradients import GRADIENT_TOLERANCE, gradient_norm
from harness.promises.micro_laws import (
    Accumulation,
    StepRun,
    broken_last,
    broken_laws,
    clipped_otherwise,
    distances,
)
from harness.promises.promise import Outcome, Promise, Violation, outcome

__all__ = [
    "CLIP_APPLIED", "MICRO_BATCHES_WEIGHED", "Accumulation", "StepRun", "accumulation",
    "clip_is_applied", "micro_batches_weigh_by_samples",
]  # fmt: skip


_LEAST_DISTANCE = 0.6
"""Relative distance of A's and B's gradients from which on what sets them apart is twice the
allowance of a mixture."""


def micro_batches_weigh_by_samples(evidence: Accumulation) -> Outcome:
    """Require accumulated gradients to weigh every sample alike.

    Copies of one sample give the same gradient in one micro-batch and in three uneven ones;
    four copies of A and one of B give 0.8 of A's gradient and 0.2 of B's; the last batch of a
    pass, where it is smaller, gives what it gives where it is full.

    Raises
    ------
    NotApplicableError
        If the two samples' gradients are too much alike to tell.
    """
    if evidence.pieces is None and not broken_last(evidence.smaller):
        raise NotApplicableError(evidence.absent)
    _require_no_noise(evidence)
    if evidence.pieces is None:
        return outcome(broken_last(evidence.smaller), len(evidence.whole.gradient), "one law")
    violations, figures = broken_laws(evidence), f"two laws, distances {distances(evidence)}"
    if evidence.other is None:
        if not violations:
            raise NotApplicableError(evidence.absent)
        return outcome(violations, len(evidence.whole.gradient), figures)
    apart, unseen = gradient_distance(evidence.pieces.gradient, evidence.other.gradient), ""
    if apart < 0.01:
        unseen = f"the gradients of samples A and B are {apart:.1g} apart: no difference to weigh"
    elif apart < _LEAST_DISTANCE and not violations:
        msg = (
            f"the gradients of the first two samples are {apart:.2g} apart, {_LEAST_DISTANCE} is "
            "needed"
        )
        raise NotApplicableError(msg)
    return outcome(violations, len(evidence.whole.gradient), figures, unseen=unseen)


def _require_no_noise(evidence: Accumulation) -> None:
    repeated = evidence.repeated
    if repeated is not None and (
        repeated.archs != evidence.whole.archs
        or not gradient_distance(evidence.whole.gradient, repeated.gradient) <= GRADIENT_TOLERANCE
    ):
        msg = "a first step that is repeated has another gradient: micro-batches cannot be told"
        raise NotApplicableError(f"{msg} from noise")
    if evidence.drawn is not None and not (
        gradient_distance(evidence.whole.gradient, evidence.drawn) <= GRADIENT_TOLERANCE
    ):
        msg = "the gradient of the same weights is another under another seed: the net draws while"
        raise NotApplicableError(f"{msg} it trains (dropout, noise), in each micro-batch anew")


MICRO_BATCHES_WEIGHED = Promise(
    id="micro-batches-weighed",
    sentence="uneven micro-batches weigh by their samples",
    evidence=accumulation,
    check=micro_batches_weigh_by_samples,
    hint=(
        "Means of unequal micro-batches are averaged, summed, divided by a constant, or one of "
        "them is lost or counted twice."
    ),
    explained_by=("update-is-adam", "gradient-of-loss"),
)


def clip_is_applied(evidence: Accumulation) -> Outcome:
    """Require what is applied to be what the clip gave: its length bounded, its direction kept."""
    threshold, violations = evidence.threshold, []
    free, update, micro = evidence.whole, evidence.clipped_update, evidence.clipped_micro
    length = gradient_norm(free.gradient)
    if not 0 < threshold < length:
        unseen = f"the gradient's norm is {length:.6g}, which a threshold of {threshold:.6g}"
        return outcome([], len(free.gradient), "no clip", unseen=f"{unseen} does not clip")
    runs = [run for run in (update, micro) if run is not None]
    if not runs:
        msg = "the system clips at one norm alone, or not at all (describe()['settings'])"
        raise NotApplicableError(msg)
    # A system may record no checks at all; what was applied per update tells without them.
    recorded = any(run.checks for run in runs)
    if update is not None:
        violations += _clipped_update(free, update, threshold, length)
        violations += _counted("update", update, 1) if recorded else []
    if micro is not None and recorded:
        violations += _clipped_micro(free, micro, threshold)
    violations += _clipped_later(runs, threshold)
    violations = violations or clipped_otherwise(evidence)
    one = "" if len(runs) == 2 else f" per {'update' if micro is None else 'micro-step'} alone"
    figures = f"threshold {threshold:.4g} of {length:.4g}, applied as reported{one}"
    unseen = "" if recorded else "no clip check was recorded (Training.checks)"
    return outcome(violations[:6], sum(len(run.checks) for run in runs), figures, unseen=unseen)


def _clipped_later(runs: Sequence[StepRun], threshold: float) -> list[Violation]:
    """Return the runs whose second epoch applies more than the threshold, wherever they clip."""
    return [
        Violation("gradient of a step of epoch 2", f"norm at most {threshold:.6g}, as in epoch 1",
                  f"norm {run.later:.6g}: what clips ends with the first epoch", "gradient")
        for run in runs
        if run.later is not None and not run.later <= threshold * (1 + GRADIENT_TOLERANCE)
    ]  # fmt: skip


def _clipped_update(
    free: StepRun, update: StepRun, threshold: float, length: float
) -> list[Violation]:
    violations = []
    expected = {n: g * threshold / length for n, g in free.gradient.items()}
    distance = gradient_distance(expected, update.gradient)
    if not distance <= GRADIENT_TOLERANCE:
        _require_whole_norm(free, update, threshold)
        violations.append(
            Violation(
                "gradient clipped per update", f"norm {threshold:.6g}, same direction",
                f"norm {gradient_norm(update.gradient):.6g}, relative distance {distance:.2g}"
                f"{clipped_instead(free.gradient, update.gradient, threshold)}", "gradient",
            )
        )  # fmt: skip
    return violations + _reported("update", update, threshold)


def _require_whole_norm(free: StepRun, update: StepRun, threshold: float) -> None:
    """Require the norm to be that of what has slots, where what is applied may be clipped by more.

    Raises
    ------
    NotApplicableError
        If weights without slots moved, and what is seen is shortened to below the threshold.
    """
    found, length = gradient_norm(update.gradient), gradient_norm(free.gradient)
    shortened = {name: g * found / length for name, g in free.gradient.items()}
    distance = gradient_distance(shortened, update.gradient)
    if update.beside and found <= threshold and distance <= GRADIENT_TOLERANCE:
        name = min(update.beside, key=len)  # not that of one of its moments
        msg = f"a step moves {name} too, of which describe().slots names none: clips may cover more"
        raise NotApplicableError(f"{msg} than is seen; name its slots")


def _clipped_micro(free: StepRun, micro: StepRun, threshold: float) -> list[Violation]:
    violations = _counted("micro-step", micro, len(micro.losses) or len(micro.archs))
    # A mean is at most as long as the mean of the lengths; how the directions differ is not known.
    bound = sum(min(c.before, threshold) for c in micro.checks) / max(len(micro.checks), 1)
    found = gradient_norm(micro.gradient)
    if not 0 < found <= bound * (1 + GRADIENT_TOLERANCE):
        violations.append(
            Violation("gradient clipped per micro-step", f"norm at most {bound:.6g}, the mean "
                      "of what the checks leave", f"norm {found:.6g}"
                      f"{clipped_instead(free.gradient, micro.gradient, threshold)}", "gradient")
        )  # fmt: skip
    return violations + _reported("micro-step", micro, threshold)


def _counted(position: str, run: StepRun, planned: int) -> list[Violation]:
    if len(run.checks) == planned > 0:
        return []
    where = f"checks of a step clipped per {position}"
    return [Violation(where, f"{planned}", f"{len(run.checks)}", "pieces")]


def _reported(position: str, run: StepRun, threshold: float) -> list[Violation]:
    return [
        Violation(f"norm after a check per {position}", f"at most {threshold:.6g}",
                  f"{check.after:.6g}", "gradient")
        for check in run.checks
        if not check.after <= threshold * (1 + 1e-5)
    ]  # fmt: skip


CLIP_APPLIED = Promise(
    id="clip-applied",
    sentence="the clipped gradient is what is applied",
    evidence=accumulation,
    check=clip_is_applied,
    hint=(
        "The clip is reported but not applied, applied to each variable alone, or at another place"
        " than configured: before the last micro-batch is added, or not to a partial one."
    ),
    explained_by=("update-is-adam", "gradient-of-loss", "gradient-everywhere"),
)
