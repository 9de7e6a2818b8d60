"""The ledger: a run's evidence, appended to a JSON-lines file, readable after a crash."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.evidence.records import (
    EpochRecord,
    NormsRecord,
    Record,
    ResumeRecord,
    StepRecord,
    from_json,
    to_json,
)

__all__ = ["Ledger", "LedgerContent", "effective", "read_ledger"]


class Ledger:
    """Appends records: flushed one by one, synced to disk at each epoch's end."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _end_broken_line(path)
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def __call__(self, record: Record) -> None:
        """Append one record (the ledger is an observer of the trainer)."""
        text = json.dumps(to_json(record), allow_nan=False, separators=(",", ":"))
        self._file.write(text + "\n")
        self._file.flush()
        if isinstance(record, EpochRecord):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close the file."""
        os.fsync(self._file.fileno())
        self._file.close()


def _end_broken_line(path: Path) -> None:
    """Close a line that a crash left open, so that the next record starts on its own."""
    if path.exists() and path.stat().st_size > 0:
        with path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


@dataclass(frozen=True)
class LedgerContent:
    """What a ledger holds: its records in file order, and lines that do not parse."""

    records: tuple[Record, ...]
    broken: tuple[tuple[int, str], ...]


def read_ledger(path: Path) -> LedgerContent:
    """Read a ledger; a broken line is reported with its number, and the rest is read.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    records: list[Record] = []
    broken: list[tuple[int, str]] = []
    for number, line in enumerate(
        path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1
    ):
        try:
            data: Any = json.loads(line)
            records.append(from_json(data))
        except (ValueError, TypeError, AttributeError) as error:
            broken.append((number, f"{type(error).__name__}: {error}"))
    return LedgerContent(tuple(records), tuple(broken))


def effective(records: Iterable[Record]) -> list[Record]:
    """Drop what a resume made void: earlier records beyond the step it restarts from."""
    kept: list[Record] = []
    for record in records:
        if isinstance(record, ResumeRecord):
            start = (record.epoch, record.step)
            kept = [old for old in kept if _position(old) <= start]
        kept.append(record)
    return kept


def _position(record: Record) -> tuple[int, float]:
    """Return (epochs completed, steps completed in the next) once the record was written."""
    if isinstance(record, StepRecord):
        return record.epoch - 1, record.step
    if isinstance(record, (EpochRecord, NormsRecord)):
        return record.epoch, 0
    epoch = getattr(record, "epoch", 0)
    return epoch, getattr(record, "step", 0)
