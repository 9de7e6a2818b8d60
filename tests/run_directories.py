"""Comparing two run directories, everything but wall-clock times."""

import csv
from pathlib import Path
from typing import Any

from harness.records.ledger import read_ledger
from harness.records.records import (
    CheckpointRecord,
    EpochRecord,
    EvalRecord,
    StepRecord,
    to_json,
)
from harness.training.checkpoint import CheckpointStore

CLOCK = ("eval_seconds", "bn_recal_seconds")
"""Left out of comparisons: wall-clock times."""


def records(folder: Path, kind: type[Any], *, broken: int = 0) -> list[Any]:
    found = read_ledger(folder / "ledger.jsonl")
    assert len(found.broken) == broken
    return [record for record in found.effective() if isinstance(record, kind)]


def without_clock(record: Any) -> dict[str, Any]:
    return {key: value for key, value in to_json(record).items() if key not in CLOCK}


def require_equal(folder: Path, straight: Path) -> None:
    """Everything but wall-clock times is equal: weights, counters, ledger and epoch log."""
    stores = [CheckpointStore(one / "checkpoints") for one in (folder, straight)]
    for pointer in ("last", "best"):
        ours, theirs = (store.load(pointer) for store in stores)
        assert ours.digest == theirs.digest
        assert ours.meta == theirs.meta
    for kind in (StepRecord, EvalRecord, EpochRecord):
        ours, theirs = ([without_clock(r) for r in records(f, kind)] for f in (folder, straight))
        assert ours == theirs
    saved = [{r.digest for r in records(f, CheckpointRecord)} for f in (folder, straight)]
    assert saved[0] >= saved[1]  # a stop saves once more
    rows = [csv.DictReader((f / "epochs.csv").read_text().splitlines()) for f in (folder, straight)]
    assert [r | dict.fromkeys(CLOCK) for r in rows[0]] == [
        r | dict.fromkeys(CLOCK) for r in rows[1]
    ]


def other_value(value: Any) -> Any:
    """Return another value of the same kind, of a JSON tree each leaf another one."""
    match value:
        case bool() | None:
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}0"
        case list():
            return [other_value(one) for one in value]
        case _:
            return {key: other_value(one) for key, one in value.items()}
