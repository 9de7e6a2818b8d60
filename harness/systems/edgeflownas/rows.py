"""EdgeFlowNAS's log rows, under the names of the epoch log."""

from __future__ import annotations

from typing import Any

__all__ = ["NOT_LOGGED", "epoch_row"]

NOT_LOGGED = "not logged by this system"
"""Reason of a column that the system under test does not have."""

_COLUMNS = {
    "mean_epe_12": "mean_epe_12",
    "std_epe_12": "std_epe_12",
    "fairness_gap": "fairness_gap",
    "lr": "lr",
    "bn_recal_batches": "bn_recal_batches",
    "eval_batches_per_arch": "eval_batches_per_arch",
    "train_loss_epoch_avg": "train_loss_epoch_avg",
    "train_grad_norm_epoch_avg": "train_grad_norm_epoch_avg",
    "grad_norm_p50": "train_grad_norm_p50",
    "grad_norm_p90": "train_grad_norm_p90",
    "grad_norm_p99": "train_grad_norm_p99",
    "clip_count": "clip_trigger_count",
    "clip_rate": "clip_trigger_rate",
}
_NEVER = (
    "clip_checks", "expected_clip_checks", "eval_seconds", "bn_recal_seconds",
    "per_arch_epe_min", "per_arch_epe_median", "per_arch_epe_max", "kendall_tau_prev",
)  # fmt: skip
_COUNTS = ("fairness_gap", "bn_recal_batches", "eval_batches_per_arch", "clip_count")
_EVALUATED = ("mean_epe_12", "std_epe_12", "bn_recal_batches", "eval_batches_per_arch")


def epoch_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return the epoch log's row; a column that EdgeFlowNAS does not keep is None, by name.

    Hashes of batches are not logged either: they are those of the batches that were seen.

    Parameters
    ----------
    row : dict
        What the trainer kept with its checkpoint, ``epoch``, ``global_step``, ``best`` and
        ``seen`` (the watched evaluation, or None).
    """
    reasons = dict.fromkeys(_NEVER, NOT_LOGGED)
    found: dict[str, Any] = dict.fromkeys(_NEVER)
    for name, theirs in _COLUMNS.items():
        found[name] = _number(name, row.get(theirs))
        if found[name] is None:
            reasons[name] = NOT_LOGGED
    seen = row.get("seen")
    if seen is None:
        # What the row has there stands in for an evaluation that was not made.
        for name in _EVALUATED:
            found[name], reasons[name] = None, "no evaluation after this epoch"
    for name in ("eval_batch_hash", "bn_recal_batch_hash"):
        found[name] = seen[name] if seen is not None else None
        if not found[name]:
            found[name], reasons[name] = None, "no such batch was served"
    found["zero_flow_epe"] = seen["zero_flow_epe"] if seen is not None else None
    found["eval_pool_size"] = len(seen["archs"]) if seen is not None else None
    best = float(row["best"])
    return dict(
        found, epoch=int(row["epoch"]), global_step=int(row["global_step"]),
        best_epe=best if best < float("inf") else None, reasons=reasons,
    )  # fmt: skip


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    return int(value) if name in _COUNTS else float(value)
