"""One run's records, sorted by kind: what offline relations look at."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.records.records import (
    FIRST_SEGMENT,
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

__all__ = ["RunEvidence", "run_evidence", "segments"]


@dataclass(frozen=True)
class RunEvidence:
    """What one segment of a run recorded, without what a resume made void.

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
        How often the segment was started or resumed.
    segment : str
        Its name.
    protocol : str
        Digest of what its evaluations measure.
    start : (int, int)
        Epochs and steps completed before it.
    before : RunEvidence or None
        The segment before it.
    openings, resumes : tuple of record
        The first record of each attempt, and where those restart that continue.
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
    segment: str = FIRST_SEGMENT
    protocol: str = ""
    start: tuple[int, int] = (0, 0)
    before: "RunEvidence | None" = None
    openings: tuple[RunRecord, ...] = ()
    resumes: tuple[ResumeRecord, ...] = ()

    @property
    def previous_eval(self) -> EvalRecord | None:
        """The last evaluation before the segment, if of the same metric series."""
        old = self._same_series()
        return None if old is None else (old.evals[-1] if old.evals else old.previous_eval)

    @property
    def best_before(self) -> float | None:
        """The best EPE before the segment, px, if of the same metric series."""
        old = self._same_series()
        return None if old is None else (old.epochs[-1].best_epe if old.epochs else old.best_before)

    def _same_series(self) -> "RunEvidence | None":
        same = self.before is not None and self.before.protocol == self.protocol
        return self.before if same else None


def run_evidence(records: Iterable[Record]) -> RunEvidence:
    """Sort the effective records of a run of one segment by kind.

    Raises
    ------
    ValueError
        If no run record opens them, or if they hold several segments.
    """
    found = segments(records)
    if len(found) > 1:
        names = ", ".join(one.segment for one in found)
        msg = f"expected the records of one segment, found {len(found)}: {names}"
        raise ValueError(msg)
    return found[0]


def segments(records: Iterable[Record]) -> tuple[RunEvidence, ...]:
    """Sort effective records (:meth:`harness.records.ledger.LedgerContent.effective`) by segment.

    A segment without a step, begun but not under way or made void by a later one, is left out.

    Raises
    ------
    ValueError
        If no run record opens them: then nothing says what was planned.
    """
    parts: list[list[Record]] = []
    opened: dict[str, list[Record]] = {}
    name: str | None = None
    for record in records:
        if isinstance(record, RunRecord) and record.segment != name:
            name = record.segment
            parts.append([])
            opened[name] = parts[-1]
        home = parts[-1] if parts else None
        if isinstance(record, EpochRecord) and record.segment != name:
            home = opened.get(record.segment, home)  # a row that a later attempt repaired
        if home is not None:
            home.append(record)
    found: RunEvidence | None = None
    every: list[RunEvidence] = []
    alive = [part for part in parts if any(isinstance(record, _EVIDENCE) for record in part)]
    for part in alive or parts[-1:]:
        found = _segment(part, found)
        every.append(found)
    if not every:
        msg = "the ledger holds no run record, expected one before anything else"
        raise ValueError(msg)
    return tuple(every)


_EVIDENCE = (StepRecord, NormsRecord, EvalRecord, EpochRecord)


def _segment(kept: list[Record], before: RunEvidence | None) -> RunEvidence:
    runs = [record for record in kept if isinstance(record, RunRecord)]
    resumes = [record for record in kept if isinstance(record, ResumeRecord)]
    border = next((r for r in kept if isinstance(r, (ResumeRecord, *_EVIDENCE))), None)
    start = (border.epoch, border.global_step) if isinstance(border, ResumeRecord) else (0, 0)

    def of(kind: type[Any]) -> tuple[Any, ...]:
        return tuple(record for record in kept if isinstance(record, kind))

    return RunEvidence(
        config=runs[0].config,
        planned_sizes=tuple(size for size, count in runs[0].planned_sizes for _ in range(count)),
        expected_clip_checks=runs[0].expected_clip_checks,
        steps=of(StepRecord), norms=of(NormsRecord), evals=of(EvalRecord),
        epochs=of(EpochRecord), checkpoints=of(CheckpointRecord), notes=of(NoteRecord),
        attempts=len(runs) if resumes else 1,
        segment=runs[0].segment, protocol=runs[0].protocol,
        start=start, before=before, openings=tuple(runs), resumes=tuple(resumes),
    )  # fmt: skip
