"""The builtin system's parts, so that it can be broken one part at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.evaluation.evaluator import EvalParts
from harness.evaluation.ranking import build_pool, kendall_tau
from harness.fc2.provider import DataParts
from harness.records.ledger import write_line
from harness.records.records import Record, RunRecord
from harness.records.seals import sealed
from harness.training.checkpoint import StoreParts
from harness.training.epochlog import EpochCsv, effective_rows
from harness.training.train_parts import TrainParts

__all__ = ["Parts", "opening_record"]


def opening_record(**values: Any) -> RunRecord:
    """Return the record that opens an attempt, of its fields' values, and sealed."""
    return sealed(RunRecord(**values))


@dataclass(frozen=True)
class Parts:
    """Everything the builtin system is put together from.

    Attributes
    ----------
    data : DataParts
        list, decode, crop, order, planned sizes; how samples are put into a batch, loaded
        ahead and handed over; the key of a cached batch.
    train : TrainParts
        frames to input, loss, fair cycle, initial weight, accumulate, clip, apply, schedule,
        count, save, restore, is best, track patience, is used up; what a sum starts from, a step
        as a whole, the counters after a step and after an epoch, the row of the log.
    evaluation : EvalParts
        frames to input, recalibrate, accumulate flow, EPE, mean.
    rank : callable
        Kendall's tau-b of two score lists.
    pool : callable
        The archs of a pool, from seed and size.
    write_line : callable
        Appends a line to the ledger.
    store : StoreParts
        Pointers that a save moves, checkpoints that it keeps, the one that is asked for.
    opening : callable
        The record that opens an attempt, of its fields' values.
    table : callable
        The observer that appends rows to the ``epochs.csv`` of a path.
    rows_in_effect : callable
        Its rows that no later one has made void.
    """

    data: DataParts = field(default_factory=DataParts)
    train: TrainParts = field(default_factory=TrainParts)
    evaluation: EvalParts = field(default_factory=EvalParts)
    rank: Callable[[Sequence[float], Sequence[float]], tuple[float | None, str | None]] = (
        kendall_tau
    )
    pool: Callable[..., tuple[tuple[int, ...], ...]] = build_pool
    write_line: Callable[..., None] = write_line
    store: StoreParts = field(default_factory=StoreParts)
    opening: Callable[..., RunRecord] = opening_record
    table: Callable[[Path], Callable[[Record], None]] = EpochCsv
    rows_in_effect: Callable[[Path], Sequence[Mapping[str, str]]] = effective_rows
