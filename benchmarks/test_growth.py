"""What a run costs as it grows: an audit against its epochs, a row against the rows before it."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest

from benchmarks.timer import Timer
from harness.records.records import EPOCH_FIELDS, EpochRecord
from tests.ledger_runs import RUN
from tests.long_ledger import write_long_ledger

_FEW, _MANY, _ROUNDS, _MOST = 1_000, 10_000, 2, 13.0
"""Epochs of two audits, pairs of them, and what the longer may take of the shorter."""

_ROWS = (10, 100_000)
_MOST_OF_A_ROW = 1.5


def _processor_seconds(folder: Path) -> float:
    """Return what an audit in a process of its own takes of a processor, s."""
    command = [sys.executable, "-m", "harness", "audit", str(folder)]
    before = os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


@pytest.mark.benchmark(group="growth")
def test_an_audit_takes_seconds_in_proportion_to_its_epochs(timer: Timer, tmp_path: Path) -> None:
    """Audits of 10,000 epochs and of 1,000, in turn; without the start of the process."""
    none, few, many = (
        write_long_ledger(tmp_path / str(count), count) for count in (10, _FEW, _MANY)
    )
    ratios, seconds = list[float](), list[float]()

    def pair() -> None:
        start, short, long = map(_processor_seconds, (none, few, many))
        ratios.append((long - start) / (short - start))
        seconds.append(long)

    timing = timer(pair, rounds=_ROUNDS)
    if timing.seconds is None:
        return
    ratio = median(ratios)
    timer.note(ratio=ratio, seconds=median(seconds))
    timer.report.lines["audit"] = (
        f"{median(seconds):.2f} s of a processor for {_MANY:,} epochs, {ratio:.1f} times that of "
        f"{_FEW:,}, over paired audits"
    )
    assert ratio <= _MOST, f"expected at most {_MOST} times as long, found {ratio:.1f}"


def _log(path: Path, epochs: int) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(EPOCH_FIELDS)
        for epoch in range(1, epochs + 1):
            writer.writerow(getattr(_row(epoch), name) for name in EPOCH_FIELDS)
    return path


def _row(epoch: int) -> EpochRecord:
    found: EpochRecord = replace(RUN.epochs[-1], epoch=epoch)
    return found


@pytest.mark.benchmark(group="growth")
@pytest.mark.slow
def test_a_row_costs_the_same_after_100000_epochs(timer: Timer, tmp_path: Path) -> None:
    """Rows appended to two epoch logs, in turn."""
    from harness.training.epochlog import EpochCsv

    tables = [EpochCsv(_log(tmp_path / f"{count}.csv", count)) for count in _ROWS]
    taken: list[list[float]] = [[], []]
    epochs = list(_ROWS)

    def pair() -> None:
        for place, table in enumerate(tables):
            epochs[place] += 1
            row = _row(epochs[place])
            start = perf_counter()
            table(row)
            taken[place].append(perf_counter() - start)

    timing = timer(pair, rounds=200)
    if timing.seconds is None:
        return
    ratio = median(after / before for before, after in zip(*taken, strict=True))
    timer.note(ratio=ratio, row_seconds=[median(each) for each in taken])
    timer.report.lines["row"] = (
        f"{1e6 * median(taken[1]):.0f} us for a row after {_ROWS[1]:,} others, {ratio:.2f} times "
        f"that after {_ROWS[0]}"
    )
    assert ratio <= _MOST_OF_A_ROW, f"expected at most {_MOST_OF_A_ROW}, found {ratio:.2f}"
