"""One run's records, sorted by kind: what offline relations look at."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.evidence.records import (
    CheckpointRecord,
    EpochRecord,
    EvalRecord,
    NormsRecord,
    NoteRecord,
    Record,
    ResumeRecord,
    RunRecord,
    StepRecord,
)

__all__ = ["RunEvidence", "run_evidence"]


@dataclass(frozen=True)
class RunEvidence:
    """What a run recorded, without what a resume made void.

    Attributes
    ----------
    config : mapping
        Configuration tree, with EdgeFlowNAS's key names.
    planned_sizes : tuple of int
        Planned batch sizes of one epoch, from the run's first lines.
    expected_clip_checks : int
        As announced there.
    steps, norms, evals, epochs, checkpoints, notes : tuple of record
        In file order.
    attempts : int
        How often the run was started or resumed.
    """

    config: Mapping[str, Any]
    planned_sizes: tuple[int, ...]
    expected_clip_checks: int
    steps: tuple[StepRecord, ...]
    norms: tuple[NormsRecord, ...]
    evals: tuple[EvalRecord, ...]
    epochs: tuple[EpochRecord, ...]
    checkpoints: tuple[CheckpointRecord, ...]
    notes: tuple[NoteRecord, ...]
    attempts: int = 1


def run_evidence(records: Iterable[Record]) -> RunEvidence:
    """Sort effective records (:func:`harness.evidence.ledger.effective`) by kind.

    Raises
    ------
    ValueError
        If no run record opens them: then nothing says what was planned.
    """
    kept = list(records)
    runs = [record for record in kept if isinstance(record, RunRecord)]
    if not runs:
        msg = "the ledger holds no run record, expected one before anything else"
        raise ValueError(msg)
    resumed = any(isinstance(record, ResumeRecord) for record in kept)

    def of(kind: type[Any]) -> tuple[Any, ...]:
        return tuple(record for record in kept if isinstance(record, kind))

    return RunEvidence(
        config=runs[0].config,
        planned_sizes=tuple(size for size, count in runs[0].planned_sizes for _ in range(count)),
        expected_clip_checks=runs[0].expected_clip_checks,
        steps=of(StepRecord), norms=of(NormsRecord), evals=of(EvalRecord),
        epochs=of(EpochRecord), checkpoints=of(CheckpointRecord), notes=of(NoteRecord),
        attempts=len(runs) if resumed else 1,
    )  # fmt: skip
