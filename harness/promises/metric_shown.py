"""What a broken promise about the metric shows: scores beside scores, and the flow they are of."""

import itertools
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.independent_epe import accumulate_residuals
from harness.promises.known_answers import Oracle
from harness.promises.shown import Flows, Row, Shown, values_beside
from harness.systems.protocol import Evaluation

__all__ = ["answers_shown", "flow_shown", "response_shown", "scores_shown", "twins_shown"]


def answers_shown(evidence: Oracle, floor: float, *, tolerance: float) -> Shown:
    """Return every known answer beside the one that was found.

    Parameters
    ----------
    evidence : Oracle
    floor : float
        EPE of an exact prediction, px.
    tolerance : float
        How far an answer may be off, px.
    """
    rows = []
    for case, exact, found in evidence.cases:
        pairs = itertools.zip_longest((math.hypot(epe, floor) for epe in exact), found)
        for sample, (want, got) in enumerate(pairs):
            right = want is not None and got is not None and abs(want - got) <= tolerance
            rows.append(Row(f"{case}, sample {sample}", want, got, not right))
    return values_beside("EPE of predictions whose EPE is known", "px", rows)


def scores_shown(what: str, rows: Sequence[Row]) -> Shown:
    """Return recomputed scores beside reported ones, px."""
    return values_beside(what, "px", rows, ("recomputed", "reported"))


def response_shown(
    head: str, base: Evaluation, changed: Evaluation, still: Collection[str]
) -> Shown:
    """Return scores before and after a head's kernels changed; wrong are those that stay.

    Parameters
    ----------
    head : str
    base, changed : Evaluation
        Before, and after.
    still : collection of str
        Archs of which no score has moved.
    """
    rows = [
        Row(f"arch {arch}, sample {sample}", *pair, arch in still)
        for arch in base.archs
        for sample, pair in enumerate(
            itertools.zip_longest(base.per_sample[arch], changed.per_sample.get(arch, ()))
        )
    ]
    names = ("as trained", f"{head} changed")
    return values_beside(f"EPE of each sample, and with other kernels in {head}", "px", rows, names)


def twins_shown(base: Evaluation, one: str, other: str) -> Shown:
    """Return the scores of two archs beside each other, which are wrong because they are equal."""
    pairs = itertools.zip_longest(base.per_sample[one], base.per_sample[other])
    rows = [Row(f"sample {sample}", *pair, True) for sample, pair in enumerate(pairs)]
    return values_beside("EPE of each sample", "px", rows, (f"arch {one}", f"arch {other}"))


def flow_shown(
    title: str, outputs: Sequence[NDArray[Any]], place: int, label: NDArray[Any],
    valid: NDArray[Any], *, last_alone: bool,
) -> Shown:  # fmt: skip
    """Return the flow that a sample's score is of.

    Parameters
    ----------
    title : str
    outputs : sequence of numpy.ndarray
        Residuals, coarse to fine, (B, h, w, >= 2), px.
    place : int
        The sample's, in the batch.
    label, valid : numpy.ndarray
        Of the batch: (B, H, W, 2), px, and (B, H, W), bool.
    last_alone : bool
        Whether the score that was found is that of the last residual by itself.
    """
    one = [output[place : place + 1] for output in outputs]
    last = np.asarray(one[-1][0, ..., :2], np.float64) if last_alone else None
    names = ("residuals added up", "the last residual alone")
    return Flows(title, accumulate_residuals(one)[0], last, valid[place], label[place], names)
