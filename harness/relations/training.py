"""What a training step does: clip checks, clip arithmetic, fairness, finite numbers."""

import math
import statistics

import numpy as np

from harness.evidence.bundles import EpochRows, FiniteEvidence, Moves, PlantedNan, TwoWays
from harness.evidence.observations import Training
from harness.records.records import NOT_LOGGED, EpochRecord
from harness.relations.base import Outcome, Violation, differences, outcome

__all__ = [
    "archs_are_fair",
    "clip_arithmetic_holds",
    "clip_checks_are_planned",
    "epoch_rows_add_up",
    "everything_is_finite",
    "planted_nan_stops",
    "same_training",
    "training_moves_everything",
]

_RELATIVE = 1e-5
"""Tolerance between a float32 norm and its product with a float32 scale."""


def _planned_checks(training: Training) -> int:
    """Return the plan's formula, written again from the plan and not imported."""
    if training.position == "update":
        return len(training.planned_sizes)
    per_arch = sum(math.ceil(size / training.micro_batch) for size in training.planned_sizes)
    return 3 * per_arch


def clip_checks_are_planned(evidence: Training) -> Outcome:
    """Require ``clip_checks == expected_clip_checks``, and both equal to the formula."""
    expected, violations = _planned_checks(evidence), list[Violation]()
    steps = len(evidence.planned_sizes)
    for row in evidence.epochs:
        made = sum(1 for check in evidence.checks if check.epoch == row.epoch)
        stepped = sum(1 for step in evidence.steps if step.epoch == row.epoch)
        for name, found in (
            ("expected_clip_checks", row.expected_clip_checks),
            ("clip_checks", row.clip_checks),
            ("checks observed", made),
        ):
            if found != expected and row.reasons.get(name) != NOT_LOGGED:
                where = f"epoch {row.epoch}, {name}"
                violations.append(Violation(where, f"{expected}", _implied(evidence, found)))
        if stepped != steps:
            violations.append(Violation(f"epoch {row.epoch}, steps", str(steps), str(stepped)))
    figures = (
        f"{expected} checks an epoch for batches {_sizes(evidence)}, micro-batch "
        f"{evidence.micro_batch}, clip per {evidence.position}"
        + _not_logged(evidence, "clip_checks", "expected_clip_checks")
    )
    return outcome(violations, len(evidence.epochs), figures)


def _implied(training: Training, checks: int | None) -> str:
    """Return a count of clip checks and the micro-batches that it implies."""
    if checks is None:
        return "none"
    implied = checks / (3 * len(training.planned_sizes))
    return (
        f"{checks}, which implies ceil(batch / micro-batch) = {implied:.2f} "
        f"for batch {training.batch_size}, micro-batch {training.micro_batch}"
    )


def _not_logged(training: Training, *columns: str) -> str:
    """Return which of some columns the system's log does not have, for a line of figures."""
    rows = training.epochs
    absent = [c for c in columns if any(row.reasons.get(c) == NOT_LOGGED for row in rows)]
    return f"; {NOT_LOGGED}: {', '.join(absent)}" if absent else ""


def _sizes(training: Training) -> str:
    sizes = training.planned_sizes
    return f"{sizes[0]} x {len(sizes)}" if len(set(sizes)) == 1 else "+".join(map(str, sizes))


def clip_arithmetic_holds(evidence: Training) -> Outcome:
    """Require counts, rate and quantiles recomputed from the dumped norms, and the clip."""
    violations: list[Violation] = []
    for check in evidence.checks:
        expected = min(check.before, evidence.threshold)
        if not math.isclose(check.after, expected, rel_tol=_RELATIVE):
            where = f"epoch {check.epoch}, step {check.step}, norm after clipping"
            violations.append(
                Violation(where, f"min({check.before:.7g}, {evidence.threshold:g})",
                          f"{check.after:.7g}")
            )  # fmt: skip
    for row in evidence.epochs:
        norms = np.asarray([c.before for c in evidence.checks if c.epoch == row.epoch])
        if norms.size == 0:
            violations.append(Violation(f"epoch {row.epoch}, norms", "at least one", "none"))
        else:
            violations += _row_arithmetic(row, norms, evidence.threshold)
    clipped = sum(check.before > evidence.threshold for check in evidence.checks)
    warning: tuple[str, ...] = ()
    if evidence.checks and clipped == len(evidence.checks):
        warning = (f"every one of {clipped} checks clipped: the step length is the threshold's",)
    figures = f"{len(evidence.checks)} norms, {clipped} over {evidence.threshold:g}"
    figures += _not_logged(evidence, "grad_norm_p50", "grad_norm_p90", "grad_norm_p99")
    return outcome(violations[:6], len(evidence.checks), figures, warning)


def _row_arithmetic(row: EpochRecord, norms: np.ndarray, threshold: float) -> list[Violation]:
    count = int((norms > threshold).sum())
    expected = {
        "clip_count": count,
        "clip_rate": count / len(norms),
        "train_grad_norm_epoch_avg": math.fsum(norms) / len(norms),
        "grad_norm_p50": float(np.quantile(norms, 0.5)),
        "grad_norm_p90": float(np.quantile(norms, 0.9)),
        "grad_norm_p99": float(np.quantile(norms, 0.99)),
    }
    return [
        Violation(f"epoch {row.epoch}, {name}", repr(value), repr(getattr(row, name)))
        for name, value in expected.items()
        if row.reasons.get(name) != NOT_LOGGED
        and not math.isclose(getattr(row, name), value, rel_tol=1e-12)
    ]


def archs_are_fair(evidence: Training) -> Outcome:
    """Require each step's three archs to cover every option of every block once."""
    violations: list[Violation] = []
    counts: dict[tuple[int, str], int] = {}
    for step in evidence.steps:
        for block, options in enumerate(zip(*step.archs, strict=True)):
            if sorted(options) != ["0", "1", "2"]:
                where = f"epoch {step.epoch}, step {step.step}, block {block}"
                violations.append(Violation(where, "options 0, 1, 2 once each", str(options)))
            for option in options:
                counts[block, option] = counts.get((block, option), 0) + 1
    gap = max(counts.values()) - min(counts.values()) if counts else 0
    violations += [
        Violation(
            f"epoch {row.epoch}, fairness_gap", "0", f"{row.fairness_gap} reported, {gap} counted"
        )
        for row in evidence.epochs
        if row.fairness_gap != 0 or gap != 0
    ]
    by_epoch: dict[int, list[tuple[str, ...]]] = {}
    for step in evidence.steps:
        by_epoch.setdefault(step.epoch, []).append(step.archs)
    repeated = [e for e in by_epoch if e - 1 in by_epoch and by_epoch[e] == by_epoch[e - 1]]
    violations += [
        Violation(f"fair cycles of epoch {e}", f"others than in epoch {e - 1}", "the same")
        for e in repeated
    ]
    cycles = {step.archs for step in evidence.steps}
    if len(evidence.steps) > 2 and len(cycles) == 1:
        violations.append(Violation("fair cycles", "different from step to step", "all the same"))
    figures = f"{len(evidence.steps)} steps, {len(cycles)} different cycles, gap {gap}"
    return outcome(violations[:6], len(evidence.steps), figures)


def training_moves_everything(evidence: Moves) -> Outcome:
    """Require every weight, statistic and optimizer slot changed by training.

    Weight decay reaches all kernels and strict fairness trains all options, so nothing may
    stay where it was.
    """
    still = [name for name, old in evidence.before.items() if evidence.after.get(name) == old]
    still = [name for name in still if not name.startswith("progress/")]
    violations = [
        Violation(f"{name} after training", "another value", "unchanged") for name in still
    ]
    moved = len(evidence.before) - len(still)
    return outcome(violations[:6], moved, f"{moved} of {len(evidence.before)} arrays moved")


def epoch_rows_add_up(evidence: EpochRows) -> Outcome:
    """Require the last epoch row to follow from the steps and from the evaluation repeated."""
    training, scores = evidence.training, evidence.evaluation
    if not training.epochs or not training.steps or not scores.per_arch_epe:
        return outcome([], 0, "no epoch was trained and evaluated")
    row, epe = training.epochs[-1], scores.per_arch_epe
    steps = [step for step in training.steps if step.epoch == row.epoch]
    share = len(training.losses) // len(training.epochs)
    expected = {
        "mean_epe_12": math.fsum(epe) / len(epe),
        "std_epe_12": statistics.pstdev(epe),
        "per_arch_epe_min": min(epe),
        "per_arch_epe_median": statistics.median(epe),
        "per_arch_epe_max": max(epe),
        "zero_flow_epe": scores.zero_flow_epe,
        "lr": steps[-1].lr,
        "train_loss_epoch_avg": math.fsum(training.losses[-share:]) / share,
        "global_step": float(len(training.steps)),
    }
    violations = [
        Violation(f"epoch {row.epoch}, {name}", repr(value), repr(getattr(row, name)))
        for name, value in expected.items()
        if row.reasons.get(name) != NOT_LOGGED
        and not math.isclose(getattr(row, name) or 0.0, value, rel_tol=1e-9)
    ]
    for index, step in enumerate(training.steps):
        lr = evidence.base_lr * (1 + math.cos(math.pi * index / evidence.total_steps)) / 2
        if not math.isclose(step.lr, lr, rel_tol=1e-9):
            where = f"learning rate of epoch {step.epoch}, step {step.step}"
            violations.append(Violation(where, repr(lr), repr(step.lr)))
    figures = f"{len(expected)} columns and {len(training.steps)} learning rates recomputed"
    figures += _not_logged(training, *expected)
    return outcome(violations[:6], len(training.steps), figures)


def same_training(evidence: TwoWays) -> Outcome:
    """Require equal weights and draws from two ways of training that must not differ."""
    one, other = (dict(state) for state in evidence.states)
    violations = differences(one, other, what=f"{evidence.one} against {evidence.other}:")
    drawn = [tuple(s.batch for s in t.steps) for t in evidence.trainings if t.steps]
    if len(drawn) == 2 and drawn[0] != drawn[1]:
        violations.append(Violation("training batches", "the same draws", "others"))
    figures = f"{len(one)} arrays bit-identical: {evidence.one} and {evidence.other}"
    steps = sum(len(training.steps) for training in evidence.trainings)
    return outcome(violations, min(len(one), steps), figures)


def everything_is_finite(evidence: FiniteEvidence) -> Outcome:
    """Require no NaN and no Inf anywhere."""
    violations, seen = [], 0
    for group, arrays in evidence.groups.items():
        for name, array in arrays.items():
            values = np.asarray(array)
            if values.dtype.kind != "f":
                continue
            seen += values.size
            if not np.isfinite(values).all():
                place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
                where = f"{group} {name}, at {place}"
                violations.append(Violation(where, "a finite number", str(values[place])))
    figures = f"{seen} numbers in {', '.join(evidence.groups)}"
    return outcome(violations[:6], seen, figures)


def planted_nan_stops(evidence: PlantedNan) -> Outcome:
    """Require that training with a NaN planted in a weight stops and names the weight."""
    violations = []
    if evidence.error is None:
        violations.append(
            Violation(f"training with NaN in {evidence.variable}", "a stop", "it went on")
        )
    elif evidence.variable not in evidence.message:
        violations.append(
            Violation("the error's message", f"the name {evidence.variable}", evidence.message)
        )
    return outcome(violations, 1, f"NaN in {evidence.variable}: {evidence.error}")
