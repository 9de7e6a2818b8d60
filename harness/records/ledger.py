"""The ledger: a run's evidence, appended to a JSON-lines file, readable after a crash."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from harness.asides import sync_open
from harness.records.records import (
    EpochRecord,
    NormsRecord,
    Record,
    ResumeRecord,
    RunRecord,
    StepRecord,
    from_json,
    to_json,
)

__all__ = ["BrokenLine", "Ledger", "LedgerContent", "effective", "read_ledger", "write_line"]


def write_line(file: IO[str], line: str, *, sync: bool) -> None:
    """Append a line: to the system at once, and to the disk where it is to `sync`."""
    # A killed process loses nothing, a machine without power an epoch at most.
    file.write(line + "\n")
    file.flush()
    if sync:
        sync_open(file.fileno(), Path(file.name))


class Ledger:
    """Appends records: flushed one by one, synced to disk at each epoch's end.

    Parameters
    ----------
    path : pathlib.Path
        The file; it is appended to and never rewritten.
    attempt : int, default 1
        Number of this attempt at the run, written into every record.
    write : callable
        Appends one line.
    """

    def __init__(
        self, path: Path, *, attempt: int = 1, write: Callable[..., None] = write_line
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Before the file is opened to append: a record glued to half a line would be lost with it.
        _end_broken_line(path)
        self._attempt, self._write = attempt, write
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def __call__(self, record: Record) -> None:
        """Append one record (the ledger is an observer of the trainer)."""
        data = to_json(record, attempt=self._attempt)
        text = json.dumps(data, allow_nan=False, separators=(",", ":"))
        self._write(self._file, text, sync=isinstance(record, EpochRecord))

    def close(self) -> None:
        """Sync and close the file."""
        sync_open(self._file.fileno(), Path(self._file.name))
        self._file.close()


def _end_broken_line(path: Path) -> None:
    """Close a line that a crash left open, so that the next record starts on its own."""
    if path.exists() and path.stat().st_size > 0:
        with path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")


@dataclass(frozen=True)
class BrokenLine:
    """A line that holds no record.

    Attributes
    ----------
    number : int
        From 1.
    reason : str
        Why it is none.
    tail : bool
        Whether it ends the file or an attempt: a kill leaves such a line, which is normal.
    """

    number: int
    reason: str
    tail: bool

    def __str__(self) -> str:
        why = "cut short by a kill, the rest is read" if self.tail else "evidence is lost here"
        return f"broken line {self.number} ({why}): {self.reason}"


@dataclass(frozen=True)
class LedgerContent:
    """What a ledger holds.

    Attributes
    ----------
    records : tuple of Record
        In file order.
    broken : tuple of BrokenLine
        Lines that hold none.
    attempts : tuple of int
        The attempt that wrote each record, in the order of `records`.
    """

    records: tuple[Record, ...]
    broken: tuple[BrokenLine, ...]
    attempts: tuple[int, ...] = ()

    def effective(self) -> list[Record]:
        """Return the records without those that a later attempt made void."""
        return effective(self.records, self.attempts)


def read_ledger(path: Path) -> LedgerContent:
    """Read a ledger; a broken line is reported with its number, and the rest is read.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    lines: list[Record | str] = []  # a record, or why there is none
    attempts: list[int] = []
    # "replace": a kill may cut a line within a character, and the rest is still read.
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            data: Any = json.loads(line)
            record = from_json(data)
            # Ledgers of version 0.1 name the attempt where it starts, and nowhere else.
            # The attempt first: where it is no number, the line is broken and neither list has it.
            attempts.append(int(data.get("attempt", attempts[-1] if attempts else 1)))
            lines.append(record)
        except (ValueError, TypeError, AttributeError) as error:
            lines.append(f"{type(error).__name__}: {error}")
    broken = (
        BrokenLine(number, line, after is None or isinstance(after, RunRecord))
        for number, (line, after) in enumerate(zip_longest(lines, lines[1:]), start=1)
        if isinstance(line, str)
    )
    records = (line for line in lines if not isinstance(line, str))
    return LedgerContent(tuple(records), tuple(broken), tuple(attempts))


def effective(records: Iterable[Record], attempts: Iterable[int] = ()) -> list[Record]:
    """Drop what a resume made void: earlier records beyond the step it restarts from.

    Parameters
    ----------
    records : iterable of Record
        In file order.
    attempts : iterable of int
        The attempt that wrote each; a record of an earlier attempt than its predecessors',
        left by a process that was thought dead, is void as well. Default: in order.
    """
    kept: list[Record] = []
    newest = 0
    for record, attempt in zip_longest(records, attempts, fillvalue=None):
        # Written by a process that lived on after another one had taken the run over.
        if attempt is not None and attempt < newest:
            continue
        newest = newest if attempt is None else attempt
        if isinstance(record, ResumeRecord):
            start = (record.epoch, record.step)
            kept = [old for old in kept if _position(old) <= start]
        assert record is not None
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
