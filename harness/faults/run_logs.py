"""Faults of what a run logs of itself: its table of epochs, and the seconds of an evaluation."""

import csv
import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.faults.base import Fault
from harness.faults.hooks import after_open
from harness.records.records import EPOCH_FIELDS, EpochRecord, Record
from harness.runs.parts import Parts

__all__ = ["HeaderEachAttempt", "RecalSecondsOfBoth", "VoidRowsStay"]


class HeaderEachAttempt(Fault):
    """Each attempt appends a header and whatever it is given, without a look at the file."""

    id, family = "header-each-attempt", "RESUME"
    citation = "DeepLabCut/DeepLabCut#3183"
    touches = ("epochs_csv",)
    expected = ("epochs-csv-follows",)

    def apply(self, parts: Parts) -> Parts:
        """Append with nothing but the standard library's writer."""

        def table(path: Path) -> Callable[[Record], None]:
            _append(path, EPOCH_FIELDS)

            def write(record: Record) -> None:
                if isinstance(record, EpochRecord):
                    _append(path, [getattr(record, name) for name in EPOCH_FIELDS])

            return write

        return dataclasses.replace(parts, table=table)


def _append(path: Path, cells: Any) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(cells)


class VoidRowsStay(Fault):
    """Rows of epochs that were trained again stay beside those that replace them."""

    id, family = "void-rows-stay", "RESUME"
    citation = "ultralytics/ultralytics#22364"
    touches = ("epochs_csv",)
    expected = ("epochs-csv-follows",)

    def apply(self, parts: Parts) -> Parts:
        """Read every row of the file."""

        def rows(path: Path) -> list[Mapping[str, str]]:
            with path.open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))

        return dataclasses.replace(parts, rows_in_effect=rows)


class RecalSecondsOfBoth(Fault):
    """The clock of recalibration is read when scoring is done too."""

    id, family = "recal-seconds-of-both", "METRIC"
    citation = "atcbosselut/comet-commonsense#20"
    touches = ("eval_seconds",)
    expected = ("eval-seconds-add-up",)

    def wrap(self, system: Any) -> Any:
        """Tell of recalibration what both took."""

        def change(inner: Any) -> None:
            # A session's own: what it compiled is shared by others, and is not touched.
            evaluator = inner.session.evaluator
            timed = evaluator.evaluate

            def evaluate(*args: Any, **options: Any) -> Any:
                start = time.perf_counter()
                record, samples = timed(*args, **options)
                both = time.perf_counter() - start
                return dataclasses.replace(record, bn_recal_seconds=both), samples

            evaluator.evaluate = evaluate

        return after_open(system, change)
