"""The course of a run as its ledger tells it: what each attempt left valid."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from harness.errors import InputError
from harness.records.broken import BrokenLine, broken_lines
from harness.records.ledger import LedgerContent
from harness.records.records import (
    EpochRecord,
    EvalRecord,
    NormsRecord,
    NoteRecord,
    Record,
    ResumeRecord,
    RunRecord,
    StepRecord,
)

__all__ = ["RunHistory", "Stretch", "read_history"]

_TEXT = {"eval_batch_hash", "bn_recal_batch_hash", "checkpoint_digest", "segment", "protocol"}


@dataclass(frozen=True)
class Stretch:
    """What one attempt left valid.

    Attributes
    ----------
    opening : RunRecord
        The attempt's first record.
    start : int
        Epochs completed before it.
    rows : tuple of EpochRecord
        Its finished epochs, in order.
    evals : tuple of EvalRecord
        Its evaluations, in order.
    """

    opening: RunRecord
    start: int
    rows: tuple[EpochRecord, ...] = ()
    evals: tuple[EvalRecord, ...] = ()

    @property
    def segment(self) -> str:
        """Name of the training dynamics."""
        return self.opening.segment

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

    @property
    def threshold(self) -> float | None:
        """Clip threshold: a global gradient norm."""
        value: Any = (self.opening.config.get("train") or {}).get("grad_clip_global_norm")
        return float(value) if _is_number(value) else None


@dataclass(frozen=True)
class RunHistory:
    """A run by its ledger.

    Attributes
    ----------
    name : str
        What it is called in the report.
    stretches : tuple of Stretch
        Of the attempts that left evidence, in order; of the last attempt in any case.
    openings : tuple of RunRecord
        Of all attempts.
    notes : tuple of (str, NoteRecord)
        Notes and the segment of each.
    broken : tuple of BrokenLine
        Lines that hold no record.
    """

    name: str
    stretches: tuple[Stretch, ...]
    openings: tuple[RunRecord, ...]
    notes: tuple[tuple[str, NoteRecord], ...]
    broken: tuple[BrokenLine, ...]

    @property
    def rows(self) -> tuple[EpochRecord, ...]:
        """All finished epochs."""
        return tuple(row for stretch in self.stretches for row in stretch.rows)


@dataclass
class _Draft:
    opening: RunRecord
    start: int = 0
    steps: int = 0
    rows: list[EpochRecord] = field(default_factory=list)
    evals: list[EvalRecord] = field(default_factory=list)

    @property
    def used(self) -> bool:
        return bool(self.steps or self.rows or self.evals)


def read_history(name: str, content: LedgerContent) -> RunHistory:
    """Sort a ledger's valid records by the attempt that they belong to.

    Raises
    ------
    InputError
        If no run record opens the ledger, or a finished epoch's row holds something else than
        numbers.
    """
    drafts: list[_Draft] = []
    notes: list[tuple[str, NoteRecord]] = []
    for record in content.effective():
        if isinstance(record, RunRecord):
            drafts.append(_Draft(_checked_opening(name, record)))
        elif isinstance(record, NoteRecord):
            notes.append((drafts[-1].opening.segment if drafts else "", record))
        elif drafts:
            _take(name, record, drafts)
    if not drafts:
        msg = f"{name}: the ledger holds no run record, expected one before anything else"
        raise InputError(msg)
    kept = [draft for draft in drafts if draft.used or draft is drafts[-1]]
    stretches = tuple(Stretch(d.opening, d.start, tuple(d.rows), tuple(d.evals)) for d in kept)
    openings = tuple(draft.opening for draft in drafts)
    return RunHistory(name, stretches, openings, tuple(notes), broken_lines(content))


def _take(name: str, record: Record, drafts: list[_Draft]) -> None:
    draft = drafts[-1]
    if isinstance(record, ResumeRecord):
        draft.start = record.epoch
    elif isinstance(record, (StepRecord, NormsRecord)):
        draft.steps += 1
    elif isinstance(record, EvalRecord):
        for key in ("mean_epe", "std_epe", "zero_flow_epe"):
            _require(name, record, key, good=_is_number(getattr(record, key)))
        draft.evals.append(record)
    elif isinstance(record, EpochRecord):
        _check_row(name, record)
        # A row that a crash kept from the ledger is written by the next attempt, whose own
        # epochs come after the one that it resumes from.
        earlier = [d for d in drafts if d.used] if record.epoch <= draft.start else []
        (earlier[-1] if earlier else draft).rows.append(record)


def _checked_opening(name: str, record: RunRecord) -> RunRecord:
    for key in ("config", "environment"):
        value = getattr(record, key)
        if not isinstance(value, Mapping):
            msg = f"{name}: {key} of attempt {record.attempt}: expected a mapping, found {value!r}"
            raise InputError(msg)
    return record


def _check_row(name: str, row: EpochRecord) -> None:
    for item in fields(row):
        value = getattr(row, item.name)
        if item.name == "reasons":
            good = isinstance(value, Mapping)
        elif item.name in _TEXT:
            good = value is None or isinstance(value, str)
        else:
            good = (value is None and "None" in str(item.type)) or _is_number(value)
        _require(name, row, item.name, good=good)


def _require(name: str, record: EpochRecord | EvalRecord, key: str, *, good: bool) -> None:
    if not good:
        msg = (
            f"{name}: {key} of epoch {record.epoch} is {getattr(record, key)!r}, expected what "
            "docs/epoch-log.md says, and finite numbers; `harness audit` looks closer"
        )
        raise InputError(msg)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
