"""A wrong score is named by what it is instead: outputs of two archs and two samples."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from harness.promises import metric
from harness.promises.known_answers import Oracle
from harness.promises.score_candidates import mean_of_samples_instead
from tests.promise_evidence_scores import HONEST, LABEL, VALID, accumulated, recomputation, scored

METRIC = metric.metric_is_recomputed


def distances(flow):
    return np.abs(np.asarray(flow, np.float64) - LABEL)


def per_sample(values, valid=VALID):
    return tuple(float(v[mask].mean()) for v, mask in zip(values, valid, strict=True))


def half_pixel(residuals):
    """Resize with cv2, whose bilinear grid has half-pixel centres."""
    total = residuals[0].astype(np.float64)
    for residual in residuals[1:]:
        size = (residual.shape[2], residual.shape[1])
        total = np.stack([cv2.resize(t, size, interpolation=cv2.INTER_LINEAR) for t in total])
        total = total + residual
    return total[..., :2]


def without_the_last(residuals):
    return accumulated([residuals[0], residuals[1], 0 * residuals[2]])


SCORES = {
    "the all-zero flow's": lambda r: scored(0 * LABEL),
    "that over all pixels, unknown ones too": lambda r: scored(accumulated(r), np.ones_like(VALID)),
    "half of it": lambda r: tuple(s / 2 for s in scored(accumulated(r))),
    "twice that": lambda r: tuple(s * 2 for s in scored(accumulated(r))),
    "|u| + |v|, not the root of their squares": lambda r: per_sample(
        distances(accumulated(r)).sum(-1)
    ),
    "the mean of |u| and |v|": lambda r: per_sample(distances(accumulated(r)).mean(-1)),
    "the square, no root taken": lambda r: per_sample((distances(accumulated(r)) ** 2).sum(-1)),
    "the root of the mean square over pixels": lambda r: tuple(
        math.sqrt(s) for s in per_sample((distances(accumulated(r)) ** 2).sum(-1))
    ),
    "the median over pixels": lambda r: tuple(
        float(np.median(np.linalg.norm(d, axis=-1)[v]))
        for d, v in zip(distances(accumulated(r)), VALID, strict=True)
    ),
    "of u alone": lambda r: per_sample(distances(accumulated(r))[..., 0]),
    "that of the negated flow": lambda r: scored(-accumulated(r)),
    "that of the flow with u and v exchanged": lambda r: scored(accumulated(r)[..., ::-1]),
    "that without the last residual": lambda r: scored(without_the_last(r)),
    "that of residuals resized on half-pixel centres": lambda r: scored(half_pixel(r)),
    "that of sample number 1 of its batch": lambda r: scored(accumulated(r))[::-1],
    "the mean of its batch": lambda r: (math.fsum(scored(accumulated(r))) / 2,) * 2,
}


@pytest.mark.parametrize("name", SCORES)
def test_a_score_of_something_else_is_named(name):
    lines = [str(v) for v in METRIC(recomputation(SCORES[name])).violations]
    assert any(line.endswith(f"; {name})") for line in lines), lines


def test_a_score_at_a_smaller_size_is_named():
    rows = [(a, i, o, label, np.ones_like(v), s) for a, i, o, label, v, s in HONEST.rows]
    small = []
    for _, _, outputs, label, _, _ in rows:
        error = np.linalg.norm(outputs[0][..., :2] - label[:, ::4, ::4], axis=-1)
        small.append(tuple(error.mean((1, 2)).tolist()))
    rows = [(*row[:5], found) for row, found in zip(rows, small, strict=True)]
    lines = [str(v) for v in METRIC(replace(HONEST, rows=rows)).violations]
    assert lines[0].endswith("; that at 1/4 of the size)")


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (3.0, "the mean over batches, each weighing the same"), (4.0, "the last batch's alone"),
        (8.0, "the sum over samples"), (2.5, "the mean over pixels, not over samples"),
        (16 / 3, "twice that"),
    ],
)  # fmt: skip
def test_an_arch_s_score_of_something_else_is_named(found, what):
    text = mean_of_samples_instead(found, [(1.0, 3.0), (4.0,)], [(2, 6), (0,)], rel_tol=1e-9)
    assert text == f": {what}"


@pytest.mark.parametrize(
    ("found", "what"), [(7.0, "|u| + |v|, not"), (25.0, "the square, no"), (2.5, "half of it")]
)
def test_a_wrong_answer_of_the_metric_is_named(found, what):
    evidence = Oracle([("ground truth plus (3, 4)", (5.0, 5.0), (5.0, found))])
    (line,) = map(str, metric.metric_gives_known_answers(evidence).violations)
    assert f"expected 5 px, found {found:g} px: {what}" in line
