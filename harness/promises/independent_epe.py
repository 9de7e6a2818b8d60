"""The metric written a second time, in float64 NumPy, to hold the system's own against."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["accumulate_residuals", "independent_epe", "resize_legacy_bilinear"]


def resize_legacy_bilinear(x: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Resize (B, h, w, C) with source = target * (in / out), as TensorFlow 1 does."""
    values = np.asarray(x, np.float64)
    for axis, target in ((1, size[0]), (2, size[1])):
        length = values.shape[axis]
        # Neither aligned corners nor half-pixel centres: so
        # EdgeFlowNAS resizes labels and outputs.
        position = np.arange(target) * (length / target)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, length - 1)
        share = (position - low).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values


def accumulate_residuals(outputs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the flow that residual outputs, coarse to fine, add up to, (B, H, W, 2), px."""
    total = np.asarray(outputs[0], np.float64)[..., :2]
    for residual in outputs[1:]:
        height, width = residual.shape[1:3]
        total = resize_legacy_bilinear(total, (height, width)) + residual[..., :2]
    return total


def independent_epe(
    flow: NDArray[Any], label: NDArray[Any], valid: NDArray[Any], *, epsilon: float = 0.0
) -> list[float]:
    """Return each sample's mean Euclidean distance over its valid pixels, px, in float64.

    NaN where a sample has none.

    Parameters
    ----------
    epsilon : float, default 0.0
        Added to the squared distance, px^2.
    """
    distance = np.hypot(*np.moveaxis(np.asarray(flow, np.float64) - label, -1, 0))
    # The root of u^2 + v^2 + epsilon.
    distance = np.hypot(distance, math.sqrt(epsilon))
    pairs = zip(distance, valid, strict=True)
    return [math.fsum(d[v]) / int(v.sum()) if v.any() else math.nan for d, v in pairs]
