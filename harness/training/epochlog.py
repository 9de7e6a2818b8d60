"""The row of the epoch log, from the epoch's sums and its evaluation."""

import csv
import io
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.config import Config
from harness.records.records import EPOCH_FIELDS, FIRST_SEGMENT, EpochRecord, EvalRecord, Record
from harness.training.epoch_table import cell_of, each_row, read_header
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

    The row of an epoch after all others is appended without a look at them: it costs the same in
    a long run as in a short one. What a resume says again is looked up in the file.

    Attributes
    ----------
    absent : tuple of str
        Columns that the file was begun without, by an earlier version. The file is only
        appended to, so they are left out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Before a torn row is cut off: what is no table of ours stays as it is.
        self._look()
        _drop_torn_row(path)
        self._size = _size(path)
        self.absent = tuple(name for name in EPOCH_FIELDS if name not in self._columns)

    def __call__(self, record: Record) -> None:
        """Append the row if the record is an epoch's and is not there yet."""
        if not isinstance(record, EpochRecord):
            return
        if _size(self._path) != self._size:
            self._look()  # another process has written, or somebody who looked at it
        # The last row in the file is of the latest epoch in effect.
        if record.epoch > self._last or not self._is_there(record):
            self._append(record)

    def _look(self) -> None:
        """Take in where the file ends; every row is read once, so that one that is none is told."""
        self._size, self._last = _size(self._path), 0
        columns, self._delimiter = read_header(self._path)
        self._columns = columns or EPOCH_FIELDS
        for row in each_row(self._path):
            self._last = int(row["epoch"])
        self._known: Mapping[int, Mapping[str, str]] | None = None

    def _is_there(self, record: EpochRecord) -> bool:
        if self._known is None:
            self._known = _states_in_effect(self._path)
        old = self._known.get(record.epoch)
        # A file of an earlier version lacks columns; what it cannot tell is no difference.
        return old is not None and all(
            cell == (getattr(record, name) or "") for name, cell in old.items()
        )

    def _append(self, record: EpochRecord) -> None:
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\n")
        if self._size == 0:
            writer.writerow(self._columns)
        writer.writerow([cell_of(getattr(record, name)) for name in self._columns])
        # In one write, so that a crash leaves one torn row at most.
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
        self._size, self._last, self._known = _size(self._path), record.epoch, None


def effective_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of an ``epochs.csv`` that later ones have not made void, as cells."""
    kept: list[dict[str, str]] = []
    for row in each_row(path):
        # Those in effect rise, so that what a row makes void stands at the end.
        while kept and int(kept[-1]["epoch"]) >= int(row["epoch"]):
            kept.pop()
        kept.append(row)
    return kept


def _states_in_effect(path: Path) -> dict[int, dict[str, str]]:
    """Return what tells two states of an epoch apart, of each row in effect."""
    kept: dict[int, dict[str, str]] = {}
    for row in each_row(path):
        epoch = int(row["epoch"])
        while kept and next(reversed(kept)) >= epoch:
            kept.popitem()
        kept[epoch] = {name: row[name] for name in _STATE if name in row}
    return kept


_STATE = ("checkpoint_digest", "segment", "protocol")
"""Columns that tell whether an epoch that is trained again ended in another state."""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _drop_torn_row(path: Path) -> None:
    """Cut off a last line that a crash left without its end."""
    end = size = _size(path)
    if not size:
        return
    with path.open("rb+") as file:
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end != size:
            file.truncate(end)


_BLOCK = 2**16
"""Bytes that are read at once, from the file's end."""
