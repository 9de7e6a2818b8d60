"""The ledger: a run's evidence, appended to a JSON-lines file, readable after a crash."""

import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import IO, cast

from harness.asides import sync_open
from harness.devices import open_regular
from harness.errors import InputError
from harness.records.chain import chain_before, chained
from harness.records.door import Door, NoRecord
from harness.records.records import (
    EpochRecord,
    NormsRecord,
    Record,
    ResumeRecord,
    RunRecord,
    StepRecord,
    to_json,
)
from harness.wording import counted

__all__ = ["BrokenLine", "Ledger", "LedgerContent", "effective", "read_ledger", "write_line"]


def write_line(file: IO[str], line: str, *, sync: bool) -> None:
    """Append a line: to the system at once, and to the disk where it is to `sync`.

    Parameters
    ----------
    file : file
        The ledger's, which gives the line its chain.
    """
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
        self._path, self._attempt, self._write = path, attempt, write
        self._file = _ChainedFile(path)

    def __call__(self, record: Record) -> None:
        """Append one record (the ledger is an observer of the trainer).

        Raises
        ------
        InputError
            If the file has gone from its place: it would be written on there, and all else here.
        """
        if not self._path.exists():
            msg = (
                f"{self._path}: is gone while the run writes to it: its folder was moved or "
                "removed; put it back where it was, and resume"
            )
            raise InputError(msg)
        data = to_json(record, attempt=self._attempt)
        text = json.dumps(data, allow_nan=False, separators=(",", ":"))
        self._write(cast("IO[str]", self._file), text, sync=isinstance(record, EpochRecord))

    def close(self) -> None:
        """Sync and close the file."""
        sync_open(self._file.fileno(), Path(self._file.name))
        self._file.close()


class _ChainedFile:
    """A file that is written line by line, each with its chain."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._path, self._before, self.name = path, b"", str(path)

    def write(self, line: str) -> None:
        """Write a line with its end."""
        if not self._before:
            # Not when it was opened: a process that is thought dead may have written since.
            with self._path.open("rb") as written:
                self._before = chain_before(written)
        text, self._before = chained(line.removesuffix("\n").encode(), self._before)
        self._file.write(text.decode() + "\n")

    def flush(self) -> None:
        """Hand to the system what is written."""
        self._file.flush()

    def fileno(self) -> int:
        """Return the file's descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
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
    unchained : int
        Lines that an earlier version wrote, at the beginning, of which no digest says whether
        they were changed since.
    """

    records: tuple[Record, ...]
    broken: tuple[BrokenLine, ...]
    attempts: tuple[int, ...] = ()
    unchained: int = 0

    def effective(self) -> list[Record]:
        """Return the records without those that a later attempt made void."""
        return effective(self.records, self.attempts)

    def lost(self) -> tuple[BrokenLine, ...]:
        """Return the lines with which evidence is lost: no kill leaves them."""
        return tuple(line for line in self.broken if not line.tail)

    def old_note(self) -> str:
        """Return a sentence on the lines that carry no digest, empty where all do."""
        if not self.unchained:
            return ""
        return (
            f"{counted(self.unchained, 'line')} of an earlier version carry no digest: whether "
            "they were changed since is not known"
        )


_VOID = "changed since it was written, or a line beside it: so says the first chain, in line"


def read_ledger(path: Path) -> LedgerContent:
    """Read a ledger; a broken line is reported with its number, and the rest is read.

    This is the one door: every record is as its class declares it, and every line is as it was
    written, by its chain.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    door = Door()
    lines: list[Record | NoRecord] = []
    attempts: list[int] = []
    with open_regular(path) as file:
        for line in file:
            found = door.read(line)
            if isinstance(found, NoRecord):
                lines.append(found)
                continue
            lines.append(found[0])
            attempts.append(found[1])
    void = max(0, door.void_before - 1)
    attempts = attempts[sum(not isinstance(one, NoRecord) for one in lines[:void]) :]
    lines[:void] = [
        one if isinstance(one, NoRecord) else NoRecord(f"{_VOID} {door.void_before}", cut=False)
        for one in lines[:void]
    ]
    broken = (
        BrokenLine(
            number,
            line.reason,
            line.cut
            and number not in door.gaps
            and (after is None or isinstance(after, RunRecord)),
        )
        for number, (line, after) in enumerate(zip_longest(lines, lines[1:]), start=1)
        if isinstance(line, NoRecord)
    )
    records = (line for line in lines if not isinstance(line, NoRecord))
    return LedgerContent(tuple(records), tuple(broken), tuple(attempts), door.unchained)


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
    furthest: list[tuple[int, float]] = []  # position of any record up to each that is kept
    newest = 0
    for record, attempt in zip_longest(records, attempts, fillvalue=None):
        # Written by a process that lived on after another one had taken the run over.
        if attempt is not None and attempt < newest:
            continue
        newest = newest if attempt is None else attempt
        if isinstance(record, ResumeRecord):
            _drop_void(kept, furthest, (record.epoch, record.step))
        assert record is not None
        kept.append(record)
        here = _position(record)
        furthest.append(max(furthest[-1], here) if furthest else here)
    return kept


def _drop_void(
    kept: list[Record], furthest: list[tuple[int, float]], start: tuple[int, float]
) -> None:
    """Drop records beyond a place, without a look at those before the first such one."""
    first = bisect_right(furthest, start)
    within = [old for old in kept[first:] if _position(old) <= start]
    before = furthest[first - 1] if first else (0, 0.0)
    del kept[first:], furthest[first:]
    for old in within:
        before = max(before, _position(old))
        kept.append(old)
        furthest.append(before)


def _position(record: Record) -> tuple[int, float]:
    """Return (epochs completed, steps completed in the next) once the record was written."""
    if isinstance(record, StepRecord):
        return record.epoch - 1, record.step
    if isinstance(record, (EpochRecord, NormsRecord)):
        return record.epoch, 0
    epoch = getattr(record, "epoch", 0)
    return epoch, getattr(record, "step", 0)
