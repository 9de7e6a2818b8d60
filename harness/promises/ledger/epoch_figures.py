"""Promises of a ledger about an epoch's figures of its steps: clipping, mean loss."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.errors import NotApplicableError
from harness.promises.arch_codes import archs_per_step
from harness.promises.ledger.plan import (
    MOST,
    epoch_loss,
    finished_epochs,
    first_violations,
    is_complete,
    is_logged,
    micro_batch_counts,
    steps_by_epoch,
    weighed_losses,
)
from harness.promises.promise import Outcome, Promise, Violation, outcome
from harness.promises.several_devices import MICRO_BATCHES, require_one_device
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

_BLOCK = 256
"""Epochs whose quantiles are taken in one call, which costs as much as those of one epoch."""

Norms = NDArray[np.float64]


def clip_figures_follow(run: RunEvidence) -> Outcome:
    """Require clip counts, rate, mean and quantiles as recomputed from the recorded norms."""
    rows, steps = finished_epochs(run), steps_by_epoch(run)
    norms, pooled = _norms_by_epoch(run)
    if rows and not norms and not is_complete(run):
        msg = "not enough evidence: the system records no norms"
        raise NotApplicableError(msg)
    threshold = float(run.config["train"]["grad_clip_global_norm"])
    unseen = "no norms are recorded" if rows and not norms else ""
    found = _other_figures(rows, norms, steps, threshold) if norms else ()
    violations = first_violations(found)
    if len(pooled) >= MOST and _are_all_same(pooled):
        what = f"{pooled[0]:g}, {len(pooled)} times"
        # First: it explains whatever else is wrong with the figures.
        violations.insert(0, Violation("gradient norms", "different values", what))
    over = int((pooled > threshold).sum())
    norms_text = f"{counted(len(pooled), 'norm')} of {counted(len(rows), 'epoch')}"
    figures, saturated = f"{norms_text}, {over} over {threshold:g}", _saturation(rows, threshold)
    return outcome(violations[:MOST], len(pooled), figures, saturated, unseen=unseen)


LEDGER_CLIP_FIGURES = Promise(
    id="ledger-clip-figures",
    further=("Training.records",),
    sentence="clip counts, rates and quantiles follow from the recorded norms",
    check=clip_figures_follow,
    hint="The clip figures of the log are of other checks than those that were made.",
    explained_by=("clip-arithmetic-micro-step", "clip-arithmetic-update"),
)


def _norms_by_epoch(run: RunEvidence) -> tuple[dict[int, Norms], Norms]:
    """Return the norms of each epoch, and all of them: one array, of which the others are parts."""
    last = {record.epoch: record for record in run.norms}
    ends = np.cumsum([0, *(len(record.norms) for record in last.values())])
    pooled = np.zeros(ends[-1])
    for record, start, end in zip(last.values(), ends, ends[1:], strict=False):
        pooled[start:end] = np.asarray(record.norms, np.float64)
    parts = zip(last, ends, ends[1:], strict=False)
    return {epoch: pooled[start:end] for epoch, start, end in parts}, pooled


def _are_all_same(norms: Norms) -> bool:
    both_nan = np.isnan(norms) & np.isnan(norms[0])
    return bool(((norms == norms[0]) | both_nan).all())


def _other_figures(
    rows: Sequence[EpochRecord], norms: Mapping[int, Norms],
    steps: Mapping[int, Sequence[StepRecord]], threshold: float,
) -> Iterator[Violation]:  # fmt: skip
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        own = [norms.get(row.epoch, np.zeros(0)) for row in block]
        for row, quantiles in zip(block, _quantiles(own), strict=True):
            if row.epoch not in norms:
                yield Violation(f"epoch {row.epoch}, norms", "recorded", "none")
                continue
            yield from _clip_columns(row, norms, steps, threshold, quantiles)
            yield from _step_norms(
                steps.get(row.epoch, []), norms[row.epoch], threshold, finite=bool(quantiles)
            )


def _quantiles(epochs: Sequence[Norms]) -> list[list[float]]:
    """Return p50, p90 and p99 of each epoch's norms; nothing where not all are finite numbers."""
    of_length: dict[int, list[int]] = {}
    for place, own in enumerate(epochs):
        if len(own) and np.isfinite(own).all():
            of_length.setdefault(len(own), []).append(place)
    found: list[list[float]] = [[] for _ in epochs]
    for places in of_length.values():
        rows = np.stack([epochs[place] for place in places])
        quantiles = np.quantile(rows, [0.5, 0.9, 0.99], axis=1).T.tolist()
        for place, own_quantiles in zip(places, quantiles, strict=True):
            found[place] = own_quantiles
    return found


def _clip_columns(
    row: EpochRecord, norms: Mapping[int, Norms], steps: Mapping[int, Sequence[StepRecord]],
    threshold: float, quantiles: Sequence[float],
) -> list[Violation]:  # fmt: skip
    own = norms[row.epoch]
    if not quantiles:
        bad = own[~np.isfinite(own)]
        what = f"{bad[0]} among {len(own)}" if len(bad) else "none"
        return [Violation(f"epoch {row.epoch}, norms", "finite norms", what)]
    count = int((own > threshold).sum())
    p50, p90, p99 = quantiles
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
    norms: Mapping[int, Norms], steps: Mapping[int, Sequence[StepRecord]], epoch: int
) -> list[list[float]]:
    """Return an epoch's norms step by step; none where they are not those of its steps."""
    if epoch not in norms:
        return []
    return by_step(norms[epoch].tolist(), [step.checks for step in steps.get(epoch, [])])


def _step_norms(
    steps: Sequence[StepRecord], norms: Norms, threshold: float, *, finite: bool
) -> list[Violation]:
    """Return the first step whose figures do not follow from its share of the norms."""
    if sum(step.checks for step in steps) != len(norms):
        return []  # another promise's matter; here no norm can be told to be a step's
    start, values = 0, norms.tolist()
    for step in steps:
        own = values[start : start + step.checks]
        start += step.checks
        over = sum(norm > threshold for norm in own)
        # A maximum with a NaN among the norms is one, wherever it stands.
        largest = max(own, default=0.0) if finite or not own else float(np.max(own))
        where = f"epoch {step.epoch}, step {step.step}"
        if step.clipped != over:
            return [Violation(f"{where}, clipped", f"{over} by its norms", str(step.clipped))]
        if step.norm != largest:
            what = f"{step.norm!r}{norm_instead(step.norm, own, threshold)}"
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
    """Require the epoch's mean loss as recomputed from its steps' losses (:func:`epoch_loss`).

    Raises
    ------
    NotApplicableError
        If each of several devices cuts its share of a batch into micro-batches, which weigh.
    """
    if micro_batch_counts(run.config, run.planned_sizes) != (1,) * len(run.planned_sizes):
        require_one_device(run.devices, MICRO_BATCHES)
    rows, steps, train = finished_epochs(run), steps_by_epoch(run), run.config["train"]
    micro = train.get("micro_batch_size") or train["batch_size"]
    violations = first_violations(_other_losses(run, rows, steps, micro))
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


def _other_losses(
    run: RunEvidence, rows: Sequence[EpochRecord], steps: Mapping[int, Sequence[StepRecord]],
    micro: int,
) -> Iterator[Violation]:  # fmt: skip
    for row in rows:
        mean = epoch_loss(steps.get(row.epoch, []), run.planned_sizes, micro)
        if mean is None or not is_logged(row, "train_loss_epoch_avg"):
            continue
        found = row.train_loss_epoch_avg
        if not _close(found, mean):
            where = f"epoch {row.epoch}, train_loss_epoch_avg"
            what = _loss_instead(run, row, steps, micro)
            yield Violation(where, repr(mean), f"{found!r}{what}")


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
