"""Promises of a ledger about an epoch's figures of its steps: clipping, mean loss."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.errors import NotApplicableError
from harness.promises.arch_codes import archs_per_step
from harness.promises.ledger.plan import (
    MOST,
    epoch_loss,
    finished_epochs,
    is_complete,
    is_logged,
    steps_by_epoch,
    weighed_losses,
)
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.promises.step_candidates import (
    by_step,
    clip_column_instead,
    norm_instead,
    step_means_instead,
)
from harness.records.records import EpochRecord, StepRecord
from harness.records.run import RunEvidence
from harness.wording import counted

__all__ = ["clip_figures_follow", "loss_average_follows"]


def clip_figures_follow(run: RunEvidence) -> Outcome:
    """Require clip counts, rate, mean and quantiles as recomputed from the recorded norms."""
    rows, steps = finished_epochs(run), steps_by_epoch(run)
    norms = {record.epoch: np.asarray(record.norms, np.float64) for record in run.norms}
    if rows and not norms and not is_complete(run):
        msg = "not enough evidence: the system records no norms"
        raise NotApplicableError(msg)
    threshold = float(run.config["train"]["grad_clip_global_norm"])
    violations: list[Violation] = []
    unseen = "no norms are recorded" if rows and not norms else ""
    for row in rows if norms else ():
        if row.epoch not in norms:
            violations.append(Violation(f"epoch {row.epoch}, norms", "recorded", "none"))
            continue
        found = norms[row.epoch]
        violations += _clip_columns(row, norms, steps, threshold)
        violations += _step_norms(steps.get(row.epoch, []), found, threshold)
    pooled = np.concatenate(list(norms.values())) if norms else np.zeros(0)
    if len(pooled) >= MOST and len(np.unique(pooled)) == 1:
        what = f"{pooled[0]:g}, {len(pooled)} times"
        # First: it explains whatever else is wrong with the figures.
        violations.insert(0, Violation("gradient norms", "different values", what))
    over = int((pooled > threshold).sum())
    norms_text = f"{counted(len(pooled), 'norm')} of {counted(len(rows), 'epoch')}"
    figures, saturated = f"{norms_text}, {over} over {threshold:g}", _saturation(rows, threshold)
    return outcome(violations[:MOST], len(pooled), figures, saturated, unseen=unseen)


LEDGER_CLIP_FIGURES = Promise(
    id="ledger-clip-figures",
    sentence="clip counts, rates and quantiles follow from the recorded norms",
    check=clip_figures_follow,
    hint="The clip figures of the log are of other checks than those that were made.",
    explained_by=("clip-arithmetic-micro-step", "clip-arithmetic-update"),
)


def _clip_columns(
    row: EpochRecord, norms: Mapping[int, np.ndarray], steps: Mapping[int, Sequence[StepRecord]],
    threshold: float,
) -> list[Violation]:  # fmt: skip
    own = norms[row.epoch]
    if len(own) == 0 or not np.isfinite(own).all():
        bad = own[~np.isfinite(own)]
        what = f"{bad[0]} among {len(own)}" if len(bad) else "none"
        return [Violation(f"epoch {row.epoch}, norms", "finite norms", what)]
    count = int((own > threshold).sum())
    p50, p90, p99 = (float(q) for q in np.quantile(own, [0.5, 0.9, 0.99]))
    expected = {
        "clip_checks": len(own), "clip_count": count, "clip_rate": count / len(own),
        "train_grad_norm_epoch_avg": math.fsum(own.tolist()) / len(own),
        "grad_norm_p50": p50, "grad_norm_p90": p90, "grad_norm_p99": p99,
    }  # fmt: skip
    wrong = {
        name: value
        for name, value in expected.items()
        if is_logged(row, name) and not _close(getattr(row, name), value)
    }

    def what_it_is(name: str) -> str:
        found = getattr(row, name)
        now, before = (_norms_by_step(norms, steps, e) for e in (row.epoch, row.epoch - 1))
        return f"{found!r}{clip_column_instead(name, found, now, before, threshold)}"

    return [
        Violation(f"epoch {row.epoch}, {name}", repr(value), what_it_is(name))
        for name, value in wrong.items()
    ]


def _close(found: float | None, expected: float) -> bool:
    return found is not None and math.isclose(found, expected, rel_tol=1e-9)


def _norms_by_step(
    norms: Mapping[int, np.ndarray], steps: Mapping[int, Sequence[StepRecord]], epoch: int
) -> list[list[float]]:
    """Return an epoch's norms step by step; none where they are not those of its steps."""
    if epoch not in norms:
        return []
    return by_step(norms[epoch].tolist(), [step.checks for step in steps.get(epoch, [])])


def _step_norms(
    steps: Sequence[StepRecord], norms: np.ndarray, threshold: float
) -> list[Violation]:
    """Return the first step whose figures do not follow from its share of the norms."""
    if sum(step.checks for step in steps) != len(norms):
        return []  # another promise's matter; here no norm can be told to be a step's
    start = 0
    for step in steps:
        own = norms[start : start + step.checks]
        start += step.checks
        over = int((own > threshold).sum())
        largest = float(own.max()) if len(own) else 0.0
        where = f"epoch {step.epoch}, step {step.step}"
        if step.clipped != over:
            return [Violation(f"{where}, clipped", f"{over} by its norms", str(step.clipped))]
        if step.norm != largest:
            what = f"{step.norm!r}{norm_instead(step.norm, own.tolist(), threshold)}"
            return [Violation(f"{where}, norm", f"{largest!r}, its largest", what)]
    return []


def _saturation(rows: Sequence[EpochRecord], threshold: float) -> tuple[str, ...]:
    full = [row.epoch for row in rows if row.clip_checks and row.clip_count == row.clip_checks]
    if not full:
        return ()
    return (
        f"saturated clipping: every check clipped at {threshold:g} in {len(full)} of {len(rows)} "
        f"epochs, first in epoch {full[0]}: the step length is the threshold's, not the gradient's",
    )


def loss_average_follows(run: RunEvidence) -> Outcome:
    """Require the epoch's mean loss as recomputed from its steps' losses (:func:`epoch_loss`)."""
    rows, steps, train = finished_epochs(run), steps_by_epoch(run), run.config["train"]
    micro, violations = train.get("micro_batch_size") or train["batch_size"], []
    for row in rows:
        mean = epoch_loss(steps.get(row.epoch, []), run.planned_sizes, micro)
        if mean is None or not is_logged(row, "train_loss_epoch_avg"):
            continue
        found = row.train_loss_epoch_avg
        if not _close(found, mean):
            where = f"epoch {row.epoch}, train_loss_epoch_avg"
            what = _loss_instead(run, row, steps, micro)
            violations.append(Violation(where, repr(mean), f"{found!r}{what}"))
    losses = {step.loss for step in run.steps}
    if len(run.steps) > 2 and len(losses) == 1:
        what = f"{run.steps[0].loss!r} in all {len(run.steps)} steps"
        violations.append(Violation("loss", "different from step to step", what))
    logged = sum(is_logged(row, "train_loss_epoch_avg") for row in rows)
    different = counted(len(losses), "different loss")
    figures = f"{counted(logged, 'epoch mean')} recomputed from {different}"
    unseen = "the log has no train_loss_epoch_avg" if rows and not logged else ""
    nothing = "no epoch was recorded"
    return outcome(violations[:MOST], logged, figures, unseen=unseen, without=nothing)


def _loss_instead(
    run: RunEvidence, row: EpochRecord, steps: Mapping[int, Sequence[StepRecord]], micro: int
) -> str:
    """Return what an epoch's loss is instead, in words."""
    if row.train_loss_epoch_avg is None:
        return ""
    losses, counts = weighed_losses(steps.get(row.epoch, []), run.planned_sizes, micro)
    weights = [archs_per_step(run.steps) * count for count in counts]
    before = [step.loss for step in steps.get(row.epoch - 1, [])]
    return step_means_instead(row.train_loss_epoch_avg, losses, weights, before)


LEDGER_LOSS_AVERAGE = Promise(
    id="ledger-loss-average",
    sentence="the epoch's loss is the mean over all of its micro-batches",
    check=loss_average_follows,
    hint="The mean weighs a partial batch as a whole one, or sums steps of another epoch.",
    explained_by=("epoch-rows-add-up",),
)
