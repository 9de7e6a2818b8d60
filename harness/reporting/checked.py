"""What a report draws is finite numbers and text: a damaged ledger is refused by name."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeGuard

from harness.errors import InputError
from harness.records.records import EpochRecord, EvalRecord, RunRecord
from harness.records.run import RunHistory

__all__ = ["is_number", "require_drawable"]

_TEXT = {"eval_batch_hash", "bn_recal_batch_hash", "checkpoint_digest", "segment", "protocol"}


def require_drawable(name: str, history: RunHistory) -> None:
    """Refuse a run whose openings, evaluations or rows hold what cannot be drawn.

    Raises
    ------
    InputError
        If configuration or environment are no mapping, or a finished epoch's row or an
        evaluation's score is something else than a number.
    """
    for attempt in history.attempts:
        _check_opening(name, attempt.opening)
        for record in attempt.records:
            if isinstance(record, EvalRecord):
                for key in ("mean_epe", "std_epe", "zero_flow_epe"):
                    _require(name, record, key, good=is_number(getattr(record, key)))
            elif isinstance(record, EpochRecord):
                _check_row(name, record)


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value read from JSON is a finite number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_opening(name: str, record: RunRecord) -> None:
    for key in ("config", "environment"):
        value = getattr(record, key)
        if not isinstance(value, Mapping):
            msg = f"{name}: {key} of attempt {record.attempt}: expected a mapping, found {value!r}"
            raise InputError(msg)


def _check_row(name: str, row: EpochRecord) -> None:
    for item in fields(row):
        value = getattr(row, item.name)
        if item.name == "reasons":
            good = isinstance(value, Mapping)
        elif item.name in _TEXT:
            good = value is None or isinstance(value, str)
        else:
            # What may be null is read off the record's own types.
            good = (value is None and "None" in str(item.type)) or is_number(value)
        _require(name, row, item.name, good=good)


def _require(name: str, record: EpochRecord | EvalRecord, key: str, *, good: bool) -> None:
    if not good:
        msg = (
            f"{name}: {key} of epoch {record.epoch} is {getattr(record, key)!r}, expected what "
            "docs/epoch-log.md says, and finite numbers; `harness audit` looks closer"
        )
        raise InputError(msg)
