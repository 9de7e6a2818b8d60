"""The row of the epoch log, from the epoch's sums and its evaluation."""

import csv
import io
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import Config
from harness.records.records import EPOCH_FIELDS, FIRST_SEGMENT, EpochRecord, EvalRecord, Record
from harness.training.epoch_table import cell_of, read_table
from harness.training.fairness import fairness_gap
from harness.training.progress import PreviousScores, Progress

__all__ = ["EpochCsv", "effective_rows", "epoch_row"]

Rank = Callable[[Sequence[float], Sequence[float]], tuple[float | None, str | None]]


def epoch_row(
    progress: Progress, scores: EvalRecord | None, *, config: Config, rank: Rank, expected: int,
    segment: str = FIRST_SEGMENT, protocol: str = "",
) -> EpochRecord:  # fmt: skip
    """Return the log row of the epoch whose steps `progress` has summed.

    Parameters
    ----------
    progress : Progress
        After the last step of the epoch.
    scores : EvalRecord or None
        This epoch's evaluation, None where none was due.
    config : Config
        The run's configuration.
    rank : callable
        Kendall's tau-b of two score lists, with the reason where it is undefined.
    expected : int
        Planned clip checks of the epoch.
    segment, protocol : str
        Of the run, as its first record names them.
    """
    sums = progress.sums
    if sums.lr is None:
        msg = f"epoch {progress.epoch + 1} has no step to log"
        raise ValueError(msg)
    columns, reasons = _score_columns(scores, progress.previous, config, rank)
    best = _best_epe(progress.best_metric, scores)
    if best is None:
        reasons = {**reasons, "best_epe": "no evaluation yet"}
    return EpochRecord(
        epoch=progress.epoch + 1,
        global_step=progress.global_step,
        fairness_gap=fairness_gap(progress.counts),
        lr=sums.lr,
        train_loss_epoch_avg=sums.loss,
        clip_checks=len(sums.norms),
        expected_clip_checks=expected,
        clip_count=sums.clipped,
        clip_rate=sums.clipped / len(sums.norms),
        best_epe=best,
        segment=segment,
        protocol=protocol,
        reasons=reasons,
        **_norm_figures(sums.norms),
        **columns,
    )


def _best_epe(before: float | None, scores: EvalRecord | None) -> float | None:
    """Return the lowest mean EPE so far, px."""
    now = None if scores is None else scores.mean_epe
    return min((value for value in (before, now) if value is not None), default=None)


def _norm_figures(norms: Sequence[float]) -> dict[str, Any]:
    """Return mean and linear quantiles of exactly the norms that were checked."""
    p50, p90, p99 = (float(q) for q in np.quantile(np.asarray(norms), [0.5, 0.9, 0.99]))
    return {
        "train_grad_norm_epoch_avg": math.fsum(norms) / len(norms),
        "grad_norm_p50": p50,
        "grad_norm_p90": p90,
        "grad_norm_p99": p99,
    }


def _score_columns(
    scores: EvalRecord | None, previous: PreviousScores | None, config: Config, rank: Rank
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the columns of an evaluation, and why which of them is null."""
    names = (
        "mean_epe_12", "std_epe_12", "bn_recal_batches", "eval_batches_per_arch", "eval_seconds",
        "bn_recal_seconds", "per_arch_epe_min", "per_arch_epe_median", "per_arch_epe_max",
        "kendall_tau_prev", "eval_batch_hash", "bn_recal_batch_hash", "eval_pool_size",
        "zero_flow_epe",
    )  # fmt: skip
    if scores is None:
        every = config.eval.eval_every_epoch
        reason = f"no evaluation in this epoch (eval_every_epoch is {every})"
        return dict.fromkeys(names), dict.fromkeys(names, reason)
    tau, undefined = _tau(scores, previous, rank)
    epe = scores.per_arch_epe
    columns = {
        "mean_epe_12": scores.mean_epe,
        "std_epe_12": scores.std_epe,
        "bn_recal_batches": scores.recal_batches,
        "eval_batches_per_arch": scores.batches,
        "eval_seconds": scores.eval_seconds,
        "bn_recal_seconds": scores.bn_recal_seconds,
        "per_arch_epe_min": min(epe),
        "per_arch_epe_median": statistics.median(epe),
        "per_arch_epe_max": max(epe),
        "kendall_tau_prev": tau,
        "eval_batch_hash": scores.eval_batch_hash,
        "bn_recal_batch_hash": scores.bn_recal_batch_hash,
        "eval_pool_size": len(scores.archs),
        "zero_flow_epe": scores.zero_flow_epe,
    }
    return columns, {"kendall_tau_prev": undefined} if undefined else {}


def _tau(
    scores: EvalRecord, previous: PreviousScores | None, rank: Rank
) -> tuple[float | None, str | None]:
    if previous is None:
        return None, "no previous evaluation"
    if previous.archs != scores.archs:
        return None, "the previous evaluation scored another pool"
    if previous.eval_batch_hash != scores.eval_batch_hash:
        return None, "the previous evaluation scored other batches"
    return rank(scores.per_arch_epe, previous.per_arch_epe)


class EpochCsv:
    """Observer that appends each epoch's row, once, to ``epochs.csv``.

    An empty cell is null. A row that a crash cut short is completed by the row that
    follows a resume. An epoch that is trained again and ends in another state gets another
    row: a row makes those void that stand before it with the same or a later epoch
    (:func:`effective_rows`).

    Attributes
    ----------
    absent : tuple of str
        Columns that the file was begun without, by an earlier version. The file is only
        appended to, so they are left out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Before a torn row is cut off: what is no table of ours stays as it is.
        table = read_table(path)
        _drop_torn_row(path)
        self._columns, self._delimiter = table.columns or EPOCH_FIELDS, table.delimiter
        self.absent = tuple(name for name in EPOCH_FIELDS if name not in self._columns)

    def __call__(self, record: Record) -> None:
        """Append the row if the record is an epoch's and is not there yet."""
        if not isinstance(record, EpochRecord):
            return
        table = read_table(self._path)
        rows = {int(row["epoch"]): row for row in table.rows}
        written = {
            "checkpoint_digest": record.checkpoint_digest or "", "segment": record.segment,
            "protocol": record.protocol,
        }  # fmt: skip
        old = rows.get(record.epoch)
        # A file of an earlier version lacks columns; what it cannot tell is no difference.
        if old is not None and all(old.get(key, value) == value for key, value in written.items()):
            return
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\n")
        if not table.columns:
            writer.writerow(self._columns)
        writer.writerow([cell_of(getattr(record, name)) for name in self._columns])
        # In one write, so that a crash leaves one torn row at most.
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())


def effective_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of an ``epochs.csv`` that later ones have not made void, as cells."""
    return list(read_table(path).rows)


def _drop_torn_row(path: Path) -> None:
    """Cut off a last line that a crash left without its end."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            with path.open("rb+") as file:
                file.truncate(whole)
