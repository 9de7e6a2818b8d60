"""Logs of honest runs are accused of nothing, and of the same logs what is wrong is found."""

import math
import random

import pytest

from tests.test_foreign_runs import found

EPOCHS = 33


def noise(seed=1):
    draws = random.Random(seed)
    return [draws.random() for _ in range(EPOCHS)]


def fine(epochs=EPOCHS):
    """Return losses and EPEs of a run, with every digit."""
    return [
        (2 / (e + 1) + 0.1 * u, 6 / (e + 1) + 0.1 * v)
        for e, u, v in zip(range(epochs), noise(1), noise(2), strict=False)
    ]


def write(path, rows, header="epoch,loss,epe"):
    lines = [",".join(map(str, (number, *row))) for number, row in enumerate(rows, start=1)]
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


def skipped(norm=math.inf):
    """Return a log of a loss scaler that left steps out, in the last epoch too."""
    return [(*one, norm if e in (0, 4, EPOCHS - 1) else 1 + e / 7) for e, one in enumerate(fine())]


def carried(every=5):
    """Return a log in which each score stands until the next one; it ends between two."""
    rows = fine()
    return [(loss, rows[max(e - e % every, 0)][1]) for e, (loss, _) in enumerate(rows)]


def with_gaps(every=5):
    """Return a log with NaN where nothing was scored."""
    return [(loss, epe if e % every == 4 else math.nan) for e, (loss, epe) in enumerate(fine())]


def plateau(digits=3):
    """Return a log of few digits, of a run that has converged."""
    return [(round(0.3 + 1 / e**2, digits), round(1.2 + 1 / e**2, digits)) for e in range(1, 61)]


HONEST = {
    "steps left out": (skipped(), "epoch,loss,epe,grad_norm"),
    "steps left out, NaN": (skipped(math.nan), "epoch,loss,epe,grad_norm"),
    "scores written on": (carried(), "epoch,loss,epe"),
    "NaN where nothing was scored": (with_gaps(), "epoch,loss,epe"),
    "a plateau in three digits": (plateau(), "epoch,loss,epe"),
    "a plateau in two digits": (plateau(2), "epoch,loss,epe"),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_log_is_accused_of_nothing(name, tmp_path):
    rows, header = HONEST[name]
    assert found(write(tmp_path / "log.csv", rows, header)) == set()


def diverged():
    rows = skipped()
    return [(math.nan if e > 20 else loss, epe, norm) for e, (loss, epe, norm) in enumerate(rows)]


def one_nan():
    return [(loss, math.nan if e == 9 else epe) for e, (loss, epe) in enumerate(fine())]


def frozen(after=20, digits=3):
    """Return a log in few digits that stops at once, far from rest."""
    rows = [(round(9 - 0.213 * e, digits), round(9 - 0.317 * e, digits)) for e in range(after)]
    return rows + rows[-1:] * 12


def never_moved():
    return [(loss, 7.5) for loss, _ in fine()]


def stuck_scores():
    rows = carried()
    return [(loss, rows[min(e, 20)][1]) for e, (loss, _) in enumerate(rows)]


def dead_last():
    rows = fine()
    return [(*one, math.inf if e > 30 else 1.5 + e / 7) for e, one in enumerate(rows[:-1])] + [
        (math.nan, math.nan, math.nan)
    ]


FAULTY = {
    "a loss that turns NaN": (diverged(), "epoch,loss,epe,grad_norm", "values-finite"),
    "one NaN among scores": (one_nan(), "epoch,loss,epe", "values-finite"),
    "an end in NaN": (dead_last(), "epoch,loss,epe,grad_norm", "values-finite"),
    "an abrupt stop in few digits": (frozen(), "epoch,loss,epe", "columns-move"),
    "an EPE of a fixed prediction": (never_moved(), "epoch,loss,epe", "columns-move"),
    "scores that stay longer than between two": (stuck_scores(), "epoch,loss,epe", "columns-move"),
    "epochs again": (fine(20) + fine(13), "epoch,loss,epe", "rows-differ"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_wrong_with_such_a_log_is_found(name, tmp_path):
    rows, header, check = FAULTY[name]
    assert found(write(tmp_path / "log.csv", rows, header)) == {check}
