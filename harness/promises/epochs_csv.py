"""``epochs.csv`` says what the ledger says, also after a run was cut and went on."""

import csv
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.promises.bench import Bench
from harness.promises.drawn_cases import parts
from harness.promises.kept_run import scripted_ledger
from harness.promises.promise import Outcome, Promise, Violation, needs, outcome
from harness.records.records import EPOCH_FIELDS, EpochRecord
from harness.wording import counted

__all__ = ["EPOCHS_CSV", "Attempts", "epochs_csv_follows_records", "table_after_cuts"]

_MOST = 6
_EMPTY = "an empty cell"


@dataclass(frozen=True)
class Attempts:
    """The rows that a run recorded, attempt by attempt, and what its table held at the end.

    Attributes
    ----------
    due : tuple of EpochRecord
        Rows that the file should hold, in its order.
    in_effect : tuple of EpochRecord
        Those of them that no later attempt has made void.
    lines : tuple of tuple of str
        Cells of each line of the file.
    read : tuple of mapping
        Rows in effect, column to cell, as they are read for who goes on.
    unreadable : str
        Why they are not; empty where they are.
    """

    due: tuple[EpochRecord, ...]
    in_effect: tuple[EpochRecord, ...]
    lines: tuple[tuple[str, ...], ...]
    read: tuple[Mapping[str, str], ...]
    unreadable: str = ""


@needs("train", "save", "restore", "state", says=("parts",))
def table_after_cuts(bench: Bench) -> Attempts:
    """Write the rows of the run with given scores: cut within a row, gone on, then gone back."""
    made, rows = parts(bench), bench.evidence(scripted_ledger).epochs
    path = bench.folder / "epochs.csv"
    first, second = rows[:3], rows[3:5]
    _attempt(made.table, path, first)
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write("4,12,0.")  # what a crash leaves of a row
    # The row of the checkpoint that it goes on from is given once more, in case it was not written.
    _attempt(made.table, path, (*first[-1:], *second))
    again = tuple(
        dataclasses.replace(row, checkpoint_digest="another", segment="again") for row in rows[1:3]
    )
    _attempt(made.table, path, again)
    try:
        read, unreadable = tuple(made.rows_in_effect(path)), ""
    except ValueError as error:  # of a line that is no row
        read, unreadable = (), str(error)
    with path.open(encoding="utf-8", newline="") as file:
        lines = tuple(tuple(cells) for cells in csv.reader(file))
    return Attempts((*first, *second, *again), (*first[:1], *again), lines, read, unreadable)


def _attempt(table: Callable[[Path], Any], path: Path, rows: Sequence[EpochRecord]) -> None:
    write = table(path)
    for row in rows:
        write(row)


def epochs_csv_follows_records(evidence: Attempts) -> Outcome:
    """Require one header, each row once with the values of its record, and the right ones void."""
    header, *rows = evidence.lines or ((),)
    violations = []
    if header != EPOCH_FIELDS:
        odd = sorted(set(header) ^ set(EPOCH_FIELDS)) or ["another order"]
        violations.append(
            Violation("epochs.csv, first line", "the columns of a row", ", ".join(odd))
        )
    named = [dict(zip(header, cells, strict=False)) for cells in rows]
    violations += _other_rows("", evidence.due, named)
    if evidence.unreadable:
        violations.append(Violation("epochs.csv, read again", "rows", evidence.unreadable))
    else:
        violations += _other_rows(" in effect", evidence.in_effect, evidence.read)
    figures = (
        f"{counted(len(rows), 'row')} of 3 attempts as recorded, {len(evidence.read)} in effect"
    )
    return outcome(violations[:_MOST], len(evidence.due), figures, without="no epoch was recorded")


def _other_rows(
    which: str, due: Sequence[EpochRecord], found: Sequence[Mapping[str, str]]
) -> Iterator[Violation]:
    if len(found) != len(due):
        epochs = ", ".join(str(row.get("epoch")) for row in found)
        expected = f"epochs {', '.join(str(row.epoch) for row in due)}"
        yield Violation(f"epochs.csv, rows{which}", expected, f"epochs {epochs}")
        return
    for place, (record, cells) in enumerate(zip(due, found, strict=True), start=1):
        for name in EPOCH_FIELDS:
            value, cell = getattr(record, name), cells.get(name, "no such cell")
            if not _says(cell, value):
                where = f"epochs.csv, row{which} {place} of {len(due)}, {name}"
                expected = _EMPTY if value is None else str(value)
                yield Violation(where, expected, cell or _EMPTY)


def _says(cell: str, value: Any) -> bool:
    """Return whether a cell is the value: exactly, of a number; empty where there is none."""
    if value is None or isinstance(value, str):
        return cell == (value or "")
    try:
        return bool(float(cell) == value)
    except ValueError:
        return False


EPOCHS_CSV = Promise(
    id="epochs-csv-follows",
    sentence="epochs.csv has each epoch's row once, as recorded, after cuts and resumes too",
    evidence=table_after_cuts,
    check=epochs_csv_follows_records,
    hint=(
        "The table is appended to without a look at what it holds: a header in the middle, a row "
        "twice, half a row that a crash left, or a row of an epoch that was trained again."
    ),
)
