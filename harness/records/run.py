"""A run as its ledger tells it: attempts, and the segments that they make up.

One cut of the records for all that look at a run offline. A *segment* is a stretch of one
training dynamics; each is judged by its own plan, and no curve crosses its border.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any, TypeVar

from harness.archs import Space
from harness.records.ledger import BrokenLine, LedgerContent
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
from harness.schedules import Schedule

__all__ = [
    "Attempt", "RunEvidence", "RunHistory", "cut_attempts", "read_history", "run_evidence",
    "segments",
]  # fmt: skip

_EVIDENCE = (StepRecord, NormsRecord, EvalRecord, EpochRecord)
_Kind = TypeVar("_Kind")


def _of(records: Iterable[Record], kind: type[_Kind]) -> tuple[_Kind, ...]:
    return tuple(record for record in records if isinstance(record, kind))


@dataclass(frozen=True)
class Attempt:
    """What one attempt at a run left valid.

    Attributes
    ----------
    opening : RunRecord
        Its first record.
    start : int
        Epochs completed before it.
    records : tuple of Record
        What it recorded after the first, in file order.
    """

    opening: RunRecord
    start: int
    records: tuple[Record, ...]

    @property
    def segment(self) -> str:
        """Name of the training dynamics."""
        return self.opening.segment

    @cached_property
    def rows(self) -> tuple[EpochRecord, ...]:
        """Its finished epochs, in order."""
        return _of(self.records, EpochRecord)

    def of(self, kind: type[_Kind]) -> tuple[_Kind, ...]:
        """Return its records of one kind, in order."""
        return _of(self.records, kind)

    @property
    def left_evidence(self) -> bool:
        """Whether anything of it counts: one that was killed at once leaves nothing."""
        return _any_evidence(self.records)

    @property
    def series(self) -> str:
        """Key of the metric series: equal where scores compare.

        Ledgers of version 0.1 record no protocol; what their configuration says of it counts.
        """
        if self.opening.protocol:
            return self.opening.protocol
        tree = self.opening.config
        said = [tree.get("eval"), (tree.get("runtime") or {}).get("seed")]
        return f"configuration {json.dumps(said, sort_keys=True, default=str)}"


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
    space : tuple of int
        Options of each block that an arch code has a digit for.
    codes : Space or None
        How arch codes are written, where the system declares it. None: with those digits.
    beside : RunRecord or None
        What the first record must announce, made of the plan and the data by somebody else than
        the run; None: only the ledger is there.
    devices : int
        That a batch is shared out to, where the system declares it.
    schedule : Schedule or None
        Of the learning rate, where the system declares it. None: as the configuration names it.
    steps_alone : bool
        Whether they are the steps of finished epochs, and all that there is: no rows, no records.
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
    space: tuple[int, ...] = (3,) * 9
    codes: Space | None = None
    beside: RunRecord | None = None
    devices: int = 1
    schedule: Schedule | None = None
    steps_alone: bool = False

    @property
    def train_samples(self) -> int:
        """Samples of the training split, by the run's first lines; 0 where they do not say."""
        return self.openings[0].train_samples if self.openings else 0

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


@dataclass(frozen=True)
class RunHistory:
    """A run by its ledger.

    Attributes
    ----------
    attempts : tuple of Attempt
        All of them, in order; at least one.
    broken : tuple of BrokenLine
        Lines that hold no record.
    note : str
        On lines that carry no digest; empty where all do.
    """

    attempts: tuple[Attempt, ...]
    broken: tuple[BrokenLine, ...] = ()
    note: str = ""

    @cached_property
    def lasting(self) -> tuple[Attempt, ...]:
        """Those attempts that left evidence, and the last one in any case."""
        last = self.attempts[-1]
        return tuple(one for one in self.attempts if one.left_evidence or one is last)

    @property
    def rows(self) -> tuple[EpochRecord, ...]:
        """All finished epochs."""
        return tuple(row for attempt in self.attempts for row in attempt.rows)

    @cached_property
    def segments(self) -> tuple[RunEvidence, ...]:
        """Segments with evidence, in order; the last one where none has any."""
        return _segments(self.attempts)


def read_history(content: LedgerContent) -> RunHistory:
    """Return a run as its ledger tells it.

    Raises
    ------
    ValueError
        If no run record opens the ledger: then nothing says what was planned.
    """
    try:
        attempts = cut_attempts(content.effective())
    except ValueError as error:
        lost = "".join(f"; {line}" for line in content.broken[:1])
        raise ValueError(f"{error}{lost}") from None
    return RunHistory(attempts, content.broken, content.old_note())


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
    return _segments(cut_attempts(records))


def cut_attempts(records: Iterable[Record]) -> tuple[Attempt, ...]:
    """Cut effective records where an attempt begins.

    Raises
    ------
    ValueError
        If no run record opens them.
    """
    drafts: list[_Draft] = []
    for record in records:
        if isinstance(record, RunRecord):
            drafts.append(_Draft(record))
        elif drafts:
            if isinstance(record, ResumeRecord):
                drafts[-1].start = record.epoch
            _attempt_of(record, drafts).records.append(record)
    if not drafts:
        msg = "the ledger holds no run record, expected one before anything else"
        raise ValueError(msg)
    return tuple(Attempt(one.opening, one.start, tuple(one.records)) for one in drafts)


@dataclass
class _Draft:
    """An attempt while its records are read."""

    opening: RunRecord
    start: int = 0
    records: list[Record] = field(default_factory=list)


def _attempt_of(record: Record, drafts: Sequence[_Draft]) -> _Draft:
    """Return the attempt that a record belongs to: the last one, but for one case.

    A row that a crash kept from the ledger is written by the next attempt, whose own epochs come
    after the one that it resumes from.
    """
    now = drafts[-1]
    # A range: an epoch that is no number, in a damaged ledger, lies in none.
    if isinstance(record, EpochRecord) and record.epoch in range(now.start + 1):
        # An attempt that was killed at once in between has nothing to do with the row.
        return next((one for one in reversed(drafts[:-1]) if _any_evidence(one.records)), now)
    return now


def _any_evidence(records: Iterable[Record]) -> bool:
    return any(isinstance(record, _EVIDENCE) for record in records)


def _segments(attempts: Iterable[Attempt]) -> tuple[RunEvidence, ...]:
    # In a row, and not by name alone: a name that comes again later is another segment.
    parts = [tuple(part) for _, part in groupby(attempts, key=lambda attempt: attempt.segment)]
    with_evidence = [part for part in parts if any(attempt.left_evidence for attempt in part)]
    every: list[RunEvidence] = []
    for part in with_evidence or parts[-1:]:
        every.append(_segment(part, every[-1] if every else None))
    return tuple(every)


def _segment(attempts: Sequence[Attempt], before: RunEvidence | None) -> RunEvidence:
    runs = tuple(attempt.opening for attempt in attempts)
    kept = [record for attempt in attempts for record in attempt.records]
    resumes = _of(kept, ResumeRecord)
    # Whichever comes first: a segment that has stepped before it is resumed began at step 0.
    border = next((r for r in kept if isinstance(r, (ResumeRecord, *_EVIDENCE))), None)
    start = (border.epoch, border.global_step) if isinstance(border, ResumeRecord) else (0, 0)
    return RunEvidence(
        config=runs[0].config,
        planned_sizes=tuple(size for size, count in runs[0].planned_sizes for _ in range(count)),
        expected_clip_checks=runs[0].expected_clip_checks,
        steps=_of(kept, StepRecord), norms=_of(kept, NormsRecord), evals=_of(kept, EvalRecord),
        epochs=_of(kept, EpochRecord), checkpoints=_of(kept, CheckpointRecord),
        notes=_of(kept, NoteRecord), attempts=len(runs) if resumes else 1,
        segment=runs[0].segment, protocol=runs[0].protocol,
        start=start, before=before, openings=runs, resumes=resumes,
    )  # fmt: skip
