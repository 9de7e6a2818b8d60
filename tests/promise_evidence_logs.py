"""Evidence of what a run logs of itself: its table of epochs, and the seconds of an evaluation."""

import math
from dataclasses import replace

from harness.promises import epochs_csv, eval_seconds
from harness.promises.epochs_csv import Attempts
from harness.promises.eval_seconds import Clocked
from harness.records.records import EPOCH_FIELDS
from tests.promise_evidence_training import log_row

# ---- three epochs, of which the last was trained again

ONE, TWO, AGAIN = (
    replace(log_row(epoch, (1.5, 2.5), 2), segment=segment, lr=0.1, mean_epe_12=None)
    for epoch, segment in ((1, "main"), (2, "main"), (2, "again"))
)


def cells(record):
    values = [getattr(record, name) for name in EPOCH_FIELDS]
    return tuple("" if value is None else str(value) for value in values)


def read(record):
    return dict(zip(EPOCH_FIELDS, cells(record), strict=True))


TABLE = Attempts(
    (ONE, TWO, AGAIN), (ONE, AGAIN), (EPOCH_FIELDS, *map(cells, (ONE, TWO, AGAIN))),
    (read(ONE), read(AGAIN)),
)  # fmt: skip


def held(*lines):
    return replace(TABLE, lines=lines)


def said(record, **values):
    return tuple((read(record) | values).values())


TABLES = {
    "a header in the middle": (
        held(EPOCH_FIELDS, cells(ONE), EPOCH_FIELDS, cells(TWO), cells(AGAIN)),
        "epochs.csv, rows: expected epochs 1, 2, 2, found epochs 1, epoch, 2, 2",
    ),
    "no header": (
        held(cells(ONE), cells(TWO), cells(AGAIN)),
        "epochs.csv, first line: expected the columns of a row, found .*",
    ),
    "columns in another order": (
        held(EPOCH_FIELDS[::-1], *(cells(row)[::-1] for row in (ONE, TWO, AGAIN))),
        "first line: expected the columns of a row, found another order",
    ),
    "half a row": (
        held(EPOCH_FIELDS, cells(ONE), cells(TWO)[:5], cells(AGAIN)),
        "epochs.csv, row 2 of 3, .*: expected .*, found no such cell",
    ),
    "a row twice": (
        held(EPOCH_FIELDS, cells(ONE), cells(ONE), cells(TWO), cells(AGAIN)),
        "rows: expected epochs 1, 2, 2, found epochs 1, 1, 2, 2",
    ),
    "another value": (
        held(EPOCH_FIELDS, cells(ONE), said(TWO, lr=str(TWO.lr * (1 + 2**-40))), cells(AGAIN)),
        r"epochs.csv, row 2 of 3, lr: expected 0\..*, found 0\.",
    ),
    "a number that is none": (
        held(EPOCH_FIELDS, cells(ONE), said(TWO, epoch="two"), cells(AGAIN)),
        "row 2 of 3, epoch: expected 2, found two",
    ),
    "a zero for a null": (
        held(EPOCH_FIELDS, said(ONE, mean_epe_12="0.0"), cells(TWO), cells(AGAIN)),
        "row 1 of 3, mean_epe_12: expected an empty cell, found 0.0",
    ),
    "another text": (
        held(EPOCH_FIELDS, cells(ONE), said(TWO, segment="again"), cells(AGAIN)),
        "row 2 of 3, segment: expected main, found again",
    ),
    "a void row in effect": (
        replace(TABLE, read=(read(ONE), read(TWO), read(AGAIN))),
        "epochs.csv, rows in effect: expected epochs 1, 2, found epochs 1, 2, 2",
    ),
    "lines that are no rows": (
        replace(TABLE, read=(), unreadable="invalid literal for int(): 'epoch'"),
        "epochs.csv, read again: expected rows, found invalid literal",
    ),
    "the older one in effect": (
        replace(TABLE, read=(read(ONE), read(TWO))),
        "epochs.csv, row in effect 2 of 2, segment: expected again, found main",
    ),
}

# ---- an evaluation of 2 s

SECONDS = Clocked(0.5, 1.25, 2.0)
CLOCKS = {
    "more than passed": (
        replace(SECONDS, recalibration=1.25),
        "bn_recal_seconds . eval_seconds: expected at most the 2 s that passed, found 2.5 s",
    ),
    "none": (replace(SECONDS, scoring=0.0), "eval_seconds: expected more than 0 s, found 0 s"),
    "negative": (
        replace(SECONDS, recalibration=-0.25),
        "bn_recal_seconds: expected more than 0 s, found -0.25 s",
    ),
    "NaN": (replace(SECONDS, scoring=math.nan), "expected at most the 2 s that passed, found nan"),
}

CLEAN = {
    epochs_csv.epochs_csv_follows_records: [TABLE],
    eval_seconds.seconds_add_up: [SECONDS, Clocked(0.5, 1.5, 2.0)],
}
EMPTY = {
    epochs_csv.epochs_csv_follows_records: Attempts((), (), (EPOCH_FIELDS,), ()),
    eval_seconds.seconds_add_up: Clocked(0.0, 0.0, 0.0),
}
CORRUPTED = {
    epochs_csv.epochs_csv_follows_records: TABLES,
    eval_seconds.seconds_add_up: CLOCKS,
}
