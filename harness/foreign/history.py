"""A run of another trainer as a history of records, so that it is drawn beside ours."""

from typing import Any

from harness.foreign.judging import Subject
from harness.foreign.run import Epoch
from harness.foreign.scores import consecutive_taus
from harness.records.records import EPOCH_FIELDS, NOT_LOGGED, EpochRecord, NoteRecord, RunRecord
from harness.records.run import Attempt, RunHistory

__all__ = ["FOREIGN", "foreign_history"]

FOREIGN = "foreign"
"""Segment of all that another trainer logged."""


def foreign_history(subject: Subject) -> RunHistory:
    """Return the history of a run; what its log does not have is null there, with the reason.

    Its protocol is nobody's: its scores are of another evaluation, which no record tells.
    """
    run = subject.run
    plan = {**subject.configured.values, **subject.plan.values}
    tree: dict[str, Any] = {}
    for key, value in plan.items():
        section, name = key.split(".")
        tree.setdefault(section, {})[name] = value
    opening = RunRecord(
        attempt=1, config=tree, environment={}, train_samples=0, val_samples=0,
        batch_size=subject.plan.count("train.batch_size") or 0,
        micro_batch_size=subject.plan.count("train.micro_batch_size") or 0, planned_sizes=(),
        expected_clip_checks=0, identity="", segment=FOREIGN, protocol=FOREIGN,
    )  # fmt: skip
    taus = dict(consecutive_taus(list(run.epochs))[0])
    rows = [_row(subject, epoch, taus.get(epoch.number)) for epoch in run.epochs]
    notes = [NoteRecord(run.epochs[-1].number, f"{run.kind}: {note}") for note in run.notes]
    return RunHistory((Attempt(opening, 0, (*rows, *notes)),))


def _row(subject: Subject, epoch: Epoch, tau: float | None) -> EpochRecord:
    scores = sorted(epe for _, epe in epoch.ranking)
    known: dict[str, Any] = {
        "epoch": epoch.number, "global_step": 0, "mean_epe_12": epoch.epe,
        "std_epe_12": epoch.epe_std, "fairness_gap": epoch.fairness_gap, "lr": epoch.lr,
        "train_loss_epoch_avg": epoch.loss, "train_grad_norm_epoch_avg": epoch.norm_mean,
        "grad_norm_p50": epoch.norm_p50, "grad_norm_p90": epoch.norm_p90,
        "grad_norm_p99": epoch.norm_p99, "clip_count": epoch.clip_count,
        "clip_rate": epoch.clip_rate, "kendall_tau_prev": tau,
        "zero_flow_epe": None if subject.zero is None or epoch.epe is None else subject.zero.epe,
        "per_arch_epe_min": scores[0] if scores else None,
        "per_arch_epe_max": scores[-1] if scores else None,
        "segment": FOREIGN, "protocol": FOREIGN,
    }  # fmt: skip
    found: dict[str, Any] = {name: _shown(known.get(name)) for name in EPOCH_FIELDS}
    reasons = {name: NOT_LOGGED for name, value in found.items() if value is None}
    return EpochRecord(**found, reasons=reasons)


def _shown(value: Any) -> Any:
    """Return a value as a curve can have it: what is not finite is no place in a plot."""
    if isinstance(value, float) and value - value != 0:
        return None
    return value
