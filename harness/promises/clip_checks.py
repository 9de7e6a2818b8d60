"""Clip checks are those of the plan, and their figures follow from the norms."""

import dataclasses
import math

import numpy as np

from harness.promises.arch_codes import archs_per_step
from harness.promises.candidates import instead
from harness.promises.clipped_training import (
    training_micro_step,
    training_micro_step_other_mode,
    training_update,
    training_update_other_mode,
)
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.promises.step_candidates import clip_column_instead
from harness.records.records import NOT_LOGGED, EpochRecord
from harness.systems.protocol import Check, Training
from harness.wording import counted

__all__ = [
    "CLIP_ARITHMETIC_MICRO_STEP", "CLIP_ARITHMETIC_UPDATE", "CLIP_CHECKS_PLANNED_MICRO_STEP",
    "CLIP_CHECKS_PLANNED_MICRO_STEP_OTHER_MODE", "CLIP_CHECKS_PLANNED_UPDATE",
    "CLIP_CHECKS_PLANNED_UPDATE_OTHER_MODE", "clip_arithmetic_holds", "clip_checks_are_planned",
    "not_logged_text",
]  # fmt: skip


_NORM_TOLERANCE = 1e-5
"""Tolerance between a float32 norm and its product with a float32 scale."""


def _planned_checks(training: Training) -> int:
    """Return the plan's formula, written again from the plan and not imported."""
    if training.position == "update":
        return len(training.planned_sizes)
    per_arch = sum(math.ceil(size / training.micro_batch) for size in training.planned_sizes)
    return archs_per_step(training.steps) * per_arch


def clip_checks_are_planned(evidence: Training) -> Outcome:
    """Require ``clip_checks == expected_clip_checks``, and both equal to the formula."""
    expected, violations = _planned_checks(evidence), list[Violation]()
    for epoch, counts in _counts_by_epoch(evidence).items():
        violations += [
            Violation(f"epoch {epoch}, {name}", f"{expected}", _implied(evidence, found), "pieces")
            for name, found in counts.items()
            if found != expected
        ]
        steps = sum(1 for step in evidence.steps if step.epoch == epoch)
        if steps != len(evidence.planned_sizes) and evidence.steps:
            planned = str(len(evidence.planned_sizes))
            violations.append(Violation(f"epoch {epoch}, steps", planned, str(steps), "steps"))
    figures = (
        f"{counted(expected, 'check')} an epoch for batches {_sizes(evidence)}, micro-batch "
        f"{evidence.micro_batch}, clip per {evidence.position}"
        + not_logged_text(evidence, "clip_checks", "expected_clip_checks")
    )
    return outcome(violations, len(evidence.checks), figures, unseen=_unseen_checks(evidence))


def _counts_by_epoch(evidence: Training) -> dict[int, dict[str, int | None]]:
    """Return every count of an epoch's clip checks: those of its row, and those made."""
    found: dict[int, dict[str, int | None]] = {}
    for row in evidence.epochs:
        found[row.epoch] = {
            name: getattr(row, name)
            for name in ("expected_clip_checks", "clip_checks")
            if row.reasons.get(name) != NOT_LOGGED
        }
    if evidence.checks:
        # A log has a row for each epoch; without one, the epochs are those of steps or checks.
        epochs = list(found) or [step.epoch for step in evidence.steps]
        epochs = epochs or [check.epoch for check in evidence.checks]
        for epoch in dict.fromkeys(epochs):
            made = sum(1 for check in evidence.checks if check.epoch == epoch)
            found.setdefault(epoch, {})["checks observed"] = made
    return found


def _unseen_checks(evidence: Training) -> str:
    """Return that no clip check was observed, where it was not."""
    return "" if evidence.checks else "no clip check was recorded (Training.checks)"


def _implied(training: Training, checks: int | None) -> str:
    """Return a count of clip checks and the micro-batches that it implies."""
    if checks is None:
        return "none"
    implied = checks / (archs_per_step(training.steps) * max(len(training.planned_sizes), 1))
    return (
        f"{checks}, which implies ceil(batch / micro-batch) = {implied:.2f} "
        f"for batch {training.batch_size}, micro-batch {training.micro_batch}"
    )


def not_logged_text(training: Training, *columns: str) -> str:
    """Return which of some columns the system's log does not have, for a line of figures."""
    rows = training.epochs
    absent = [c for c in columns if any(row.reasons.get(c) == NOT_LOGGED for row in rows)]
    return f"; {NOT_LOGGED}: {', '.join(absent)}" if absent else ""


def _sizes(training: Training) -> str:
    sizes = training.planned_sizes
    if not sizes:
        return "none"
    return f"{sizes[0]} x {len(sizes)}" if len(set(sizes)) == 1 else "+".join(map(str, sizes))


_PLAN_HINT = "Compare batch and micro-batch size with the run's first lines."


CLIP_CHECKS_PLANNED_MICRO_STEP = Promise(
    id="clip-checks-planned-micro-step",
    sentence="clip_checks equals the plan, clipping per micro-step",
    evidence=training_micro_step,
    check=clip_checks_are_planned,
    hint=_PLAN_HINT,
    explained_by=("micro-batches-weighed",),
    tier="smoke",
)


CLIP_CHECKS_PLANNED_UPDATE = Promise(
    id="clip-checks-planned-update",
    sentence="clip_checks equals the plan, clipping per update",
    evidence=training_update,
    check=clip_checks_are_planned,
    hint=_PLAN_HINT,
    explained_by=("clip-checks-planned-micro-step", "micro-batches-weighed"),
)


CLIP_CHECKS_PLANNED_MICRO_STEP_OTHER_MODE = Promise(
    id="clip-checks-planned-micro-step-other-mode",
    sentence="clip_checks equals the plan, clipping per micro-step",
    evidence=training_micro_step_other_mode,
    check=clip_checks_are_planned,
    hint=_PLAN_HINT,
    tier="full",
    explained_by=("clip-checks-planned-micro-step",),
)


CLIP_CHECKS_PLANNED_UPDATE_OTHER_MODE = Promise(
    id="clip-checks-planned-update-other-mode",
    sentence="clip_checks equals the plan, clipping per update",
    evidence=training_update_other_mode,
    check=clip_checks_are_planned,
    hint=_PLAN_HINT,
    tier="full",
    explained_by=("clip-checks-planned-update",),
)


def clip_arithmetic_holds(evidence: Training) -> Outcome:
    """Require counts, rate and quantiles recomputed from the dumped norms, and the clip."""
    violations: list[Violation] = []
    for check in evidence.checks:
        expected = min(check.before, evidence.threshold)
        if not math.isclose(check.after, expected, rel_tol=_NORM_TOLERANCE):
            where = f"epoch {check.epoch}, step {check.step}, norm after clipping"
            violations.append(
                Violation(where, f"min({check.before:.7g}, {evidence.threshold:g})",
                          f"{check.after:.7g}{_after_instead(check, evidence.threshold)}",
                          "gradient")
            )  # fmt: skip
    for row in evidence.epochs:
        norms = np.asarray([c.before for c in evidence.checks if c.epoch == row.epoch])
        if not evidence.checks:
            continue  # what was not observed is said below, once
        if norms.size == 0:
            violations.append(Violation(f"epoch {row.epoch}, norms", "at least one", "none"))
        else:
            violations += [
                dataclasses.replace(v, kind="log") for v in _row_arithmetic(row, norms, evidence)
            ]
    violations += _of_no_gradient(evidence)
    clipped = sum(check.before > evidence.threshold for check in evidence.checks)
    warning: tuple[str, ...] = ()
    if evidence.checks and clipped == len(evidence.checks):
        # Only a warning: a threshold below every norm is a poor choice, but no broken promise.
        warning = (f"every one of {clipped} checks clipped: the step length is the threshold's",)
    figures = f"{counted(len(evidence.checks), 'norm')}, {clipped} over {evidence.threshold:g}"
    figures += not_logged_text(evidence, "grad_norm_p50", "grad_norm_p90", "grad_norm_p99")
    return outcome(
        violations[:6], len(evidence.checks), figures, warning, unseen=_unseen_checks(evidence)
    )


def _of_no_gradient(evidence: Training) -> list[Violation]:
    """Return that all norms are 0 where there is a loss: what was clipped is no gradient."""
    losses = [step.loss for step in evidence.steps] + list(evidence.losses)
    if not evidence.checks or not any(losses) or any(check.before for check in evidence.checks):
        return []
    found = (
        f"0 in all {counted(len(evidence.checks), 'check')}: clipped before the gradient is there"
    )
    where = "norms before clipping"
    return [Violation(where, f"above 0 where the loss is {max(losses):.4g}", found, "gradient")]


def _row_arithmetic(row: EpochRecord, norms: np.ndarray, training: Training) -> list[Violation]:
    count = int((norms > training.threshold).sum())
    expected = {
        "clip_count": count,
        "clip_rate": count / len(norms),
        "train_grad_norm_epoch_avg": math.fsum(norms) / len(norms),
        "grad_norm_p50": float(np.quantile(norms, 0.5)),
        "grad_norm_p90": float(np.quantile(norms, 0.9)),
        "grad_norm_p99": float(np.quantile(norms, 0.99)),
    }
    return [
        Violation(f"epoch {row.epoch}, {name}", repr(value),
                  f"{getattr(row, name)!r}{_column_instead(training, row, name)}")
        for name, value in expected.items()
        if row.reasons.get(name) != NOT_LOGGED and not _close(getattr(row, name), value)
    ]  # fmt: skip


def _column_instead(training: Training, row: EpochRecord, name: str) -> str:
    """Return what a clip figure of the log is instead, if that can be told."""
    found: dict[int, dict[int, list[float]]] = {}
    for check in training.checks:
        found.setdefault(check.epoch, {}).setdefault(check.step, []).append(check.before)
    now, before = (list(found.get(epoch, {}).values()) for epoch in (row.epoch, row.epoch - 1))
    return clip_column_instead(name, getattr(row, name), now, before, training.threshold)


def _after_instead(check: Check, threshold: float) -> str:
    return instead(
        check.after,
        {"not clipped": check.before, "scaled up to the threshold": threshold},
        rel_tol=_NORM_TOLERANCE,
    )


def _close(found: float | None, expected: float) -> bool:
    return found is not None and math.isclose(found, expected, rel_tol=1e-12)


_FIGURES_HINT = "The log's clip figures do not follow from the norms that were checked."


CLIP_ARITHMETIC_MICRO_STEP = Promise(
    id="clip-arithmetic-micro-step",
    sentence="clip counts, rates, quantiles and norms agree, clipping per micro-step",
    evidence=training_micro_step,
    check=clip_arithmetic_holds,
    hint=_FIGURES_HINT,
    explained_by=("clip-applied",),
    tier="smoke",
)


CLIP_ARITHMETIC_UPDATE = Promise(
    id="clip-arithmetic-update",
    sentence="clip counts, rates, quantiles and norms agree, clipping per update",
    evidence=training_update,
    check=clip_arithmetic_holds,
    hint=_FIGURES_HINT,
    explained_by=("clip-applied",),
)
