"""What a wrong EPE is instead: other outputs, other pixels, another distance."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.independent_epe import accumulate_residuals, resize_legacy_bilinear
from harness.wording import counted

__all__ = [
    "OF_3_4", "Scored", "mean_of_samples_instead", "mean_over", "over_text",
    "sample_score_instead",
]  # fmt: skip

Array = NDArray[Any]
Scored = tuple[Sequence[Array], Array, Array]
"""Residual outputs, coarse to fine, label (B, H, W, 2), px, and mask of known flow (B, H, W)."""

OF_3_4 = {
    "half of it": 2.5,
    "twice that": 10.0,
    "|u| + |v|, not the root of their squares": 7.0,
    "the mean of |u| and |v|": 3.5,
    "the square, no root taken": 25.0,
    "half of the square": 12.5,
    "the root of the mean of the squares": math.sqrt(12.5),
    "u alone": 3.0,
    "v alone": 4.0,
}
"""What a metric may give for an error of (3, 4) px everywhere, which is 5 px."""


def sample_score_instead(
    found: float, sample: int, scored: Scored, others: Sequence[float], *, rel_tol: float
) -> str:  # fmt: skip
    """Return what a sample's score is instead, in words; nothing where that cannot be told.

    Parameters
    ----------
    found : float
        As reported, px.
    sample : int
        Its place in the batch.
    scored : Scored
        The batch.
    others : sequence of float
        Right scores of the batch's samples, px.
    rel_tol : float
        Relative distance of two scores that are equal but for rounding.
    """
    if not math.isfinite(found):
        return ""
    for place, other in enumerate(others):
        if place != sample and math.isclose(found, other, rel_tol=rel_tol):
            return f"that of sample number {place} of its batch"
    if math.isclose(found, math.fsum(others) / len(others), rel_tol=rel_tol):
        return "the mean of its batch"
    for name, score in _candidates(scored, sample):
        if math.isclose(found, score(), rel_tol=rel_tol):
            return name
    return ""


def _candidates(scored: Scored, sample: int) -> Iterator[tuple[str, Callable[[], float]]]:
    outputs = [np.asarray(output[sample : sample + 1], np.float64) for output in scored[0]]
    label = np.asarray(scored[1][sample], np.float64)
    valid = np.asarray(scored[2][sample], bool)
    if not valid.any():
        return
    flow = accumulate_residuals(outputs)[0]
    error = flow - label
    length = np.hypot(error[..., 0], error[..., 1])
    inside = error[valid]

    def of(another: Array) -> float:
        return _mean_length((another - label)[valid])

    yield "the all-zero flow's", lambda: of(np.zeros_like(label))
    yield "that over all pixels, unknown ones too", lambda: float(length.mean())
    yield "half of it", lambda: float(length[valid].mean()) / 2
    yield "twice that", lambda: float(length[valid].mean()) * 2
    yield "the median over pixels", lambda: float(np.median(length[valid]))
    yield "the largest of its pixels", lambda: float(length[valid].max())
    yield ("|u| + |v|, not the root of their squares", lambda: float(np.abs(inside).sum(-1).mean()))
    yield "the mean of |u| and |v|", lambda: float(np.abs(inside).mean())
    yield "the square, no root taken", lambda: float((inside**2).sum(-1).mean())
    yield (
        "the root of the mean square over pixels",
        lambda: math.sqrt(float((inside**2).sum(-1).mean())),
    )
    yield "of u alone", lambda: float(np.abs(inside[..., 0]).mean())
    yield "of v alone", lambda: float(np.abs(inside[..., 1]).mean())
    yield "that of the negated flow", lambda: of(-flow)
    yield "that of the flow with u and v exchanged", lambda: of(flow[..., ::-1])
    yield (
        "that of residuals resized on half-pixel centres",
        lambda: of(_half_pixel_sum(outputs)[0]),
    )
    yield from _coarser(outputs, label, valid)


def _coarser(
    outputs: Sequence[Array], label: Array, valid: Array
) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yield scores of the coarser outputs: by themselves, resized, and on a smaller label."""
    for count in range(1, len(outputs)):
        flow = accumulate_residuals(outputs[:count])
        size = (flow.shape[1], flow.shape[2])
        large = resize_legacy_bilinear(flow, label.shape[:2])[0]
        scale = f"1/{label.shape[0] // size[0]}"
        rest = len(outputs) - count
        last = "last residual" if rest == 1 else f"last {rest} residuals"
        yield f"that without the {last}", partial(_mean_length, (large - label)[valid])
        small = resize_legacy_bilinear(label[np.newaxis], size)
        if valid.all():  # how a mask is made smaller has no one answer
            yield f"that at {scale} of the size", partial(_mean_length, (flow - small)[0])


def _mean_length(error: Array) -> float:
    return float(np.hypot(error[..., 0], error[..., 1]).mean())


def _half_pixel_sum(outputs: Sequence[Array]) -> Array:
    """Add residuals up as :func:`accumulate_residuals` does, on TensorFlow 2's grid."""
    total = outputs[0][..., :2]
    for residual in outputs[1:]:
        for axis, target in ((1, residual.shape[1]), (2, residual.shape[2])):
            length = total.shape[axis]
            position = (np.arange(target) + 0.5) * (length / target) - 0.5
            low = np.floor(position).astype(int)
            share = (position - low).reshape([-1 if a == axis else 1 for a in range(total.ndim)])
            below, above = np.clip(low, 0, length - 1), np.clip(low + 1, 0, length - 1)
            total = total.take(below, axis) * (1 - share) + total.take(above, axis) * share
        total = total + residual[..., :2]
    return total


def mean_of_samples_instead(
    found: float, batches: Sequence[Sequence[float]], known: Sequence[Sequence[int]], *,
    rel_tol: float, over: str = "samples",
) -> str:  # fmt: skip
    """Return what an arch's score is instead of the mean over its samples, in words.

    Parameters
    ----------
    batches : sequence of sequence of float
        Right scores, batch by batch, px.
    known : sequence of sequence of int
        Pixels with a label, of the same samples.
    over : {"samples", "pixels"}
        What the mean should be over.
    """
    flat = [score for batch in batches for score in batch]
    pixels = [count for batch in known for count in batch]
    if not flat or not math.isfinite(found):
        return ""
    means = [math.fsum(batch) / len(batch) for batch in batches]
    candidates = {
        "the mean over samples, not over pixels": math.fsum(flat) / len(flat),
        "the mean over batches, each weighing the same": math.fsum(means) / len(means),
        "the last batch's alone": means[-1],
        "the first batch's alone": means[0],
        "the mean over pixels, not over samples": mean_over(flat, pixels, "pixels"),
        "the sum over samples": math.fsum(flat),
        "the sum over batches": math.fsum(means),
        "the median over samples": float(np.median(flat)),
        "the mean over all but the last batch": (
            math.fsum(s for b in batches[:-1] for s in b) / max(len(flat) - len(batches[-1]), 1)
        ),
        "half of it": math.fsum(flat) / len(flat) / 2,
        "twice that": math.fsum(flat) / len(flat) * 2,
        "the largest of its samples": max(flat),
        "the smallest of its samples": min(flat),
    }
    del candidates[f"the mean over {over}, not over {_OTHER[over]}"]
    return next(
        (f": {n}" for n, v in candidates.items() if math.isclose(found, v, rel_tol=rel_tol)), ""
    )


_OTHER = {"samples": "pixels", "pixels": "samples"}


def mean_over(samples: Sequence[float], pixels: Sequence[int], over: str) -> float:
    """Return the mean of samples' scores, px, each weighing the same or by its valid pixels.

    A sample without a valid pixel has no score, and no weight.
    """
    if over == "samples":
        return math.fsum(samples) / len(samples)
    known = [(s, p) for s, p in zip(samples, pixels, strict=True) if p]
    return math.fsum(s * p for s, p in known) / sum(p for _, p in known) if known else math.nan


def over_text(samples: int, pixels: Sequence[int], over: str) -> str:
    """Return what a mean is over, in words."""
    text = counted(samples, "sample")
    return text if over == "samples" else f"{counted(sum(pixels), 'valid pixel')} of {text}"
