"""Losses of the final flow that a system may declare, written again in float64."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.promises.independent_epe import accumulate_residuals, resize_legacy_bilinear

__all__ = ["final_loss", "other_final_losses"]


def final_loss(
    kind: str, outputs: Sequence[NDArray[Any]], label: NDArray[Any], valid: NDArray[Any]
) -> float:
    """Return a loss of the flow that outputs add up to: its mean over the batch's valid pixels.

    Parameters
    ----------
    kind : {"l1", "l2", "epe"}
        Of both components |d|, mean; of both d^2, mean, px^2; the root of u^2 + v^2, px.
    outputs : sequence of numpy.ndarray
        Residuals, coarse to fine, (B, h, w, C), channels 0 and 1 the flow.
    label, valid : numpy.ndarray
        (B, H, W, 2), px, and (B, H, W); NaN where no pixel is valid.
    """
    return _mean(_of_each(kind, outputs, label)[np.asarray(valid, bool)])


def _of_each(
    kind: str, outputs: Sequence[NDArray[Any]], label: NDArray[Any]
) -> NDArray[np.float64]:  # fmt: skip
    """Return the loss of each pixel, (B, H, W)."""
    size = (label.shape[1], label.shape[2])
    difference = resize_legacy_bilinear(accumulate_residuals(outputs), size) - label
    if kind == "epe":
        length: NDArray[np.float64] = np.hypot(difference[..., 0], difference[..., 1])
        return length
    of_each = np.abs(difference) if kind == "l1" else np.square(difference)
    found: NDArray[np.float64] = of_each.mean(axis=-1)
    return found


def _mean(values: NDArray[np.float64]) -> float:
    return math.fsum(values.ravel()) / values.size if values.size else math.nan


def other_final_losses(
    kind: str, outputs: Sequence[NDArray[Any]], label: NDArray[Any], valid: NDArray[Any]
) -> Mapping[str, float]:
    """Return what may be taken for a declared loss, by its name."""
    each = {name: _of_each(name, outputs, label) for name in ("l1", "l2", "epe")}
    known = np.asarray(valid, bool)
    found: dict[str, float] = {}
    for name, values in each.items():
        own = "" if name == kind else f"{name}, "
        means = {
            "": _mean(values[known]),
            "the mean of each sample's mean": _mean(
                np.array([_mean(v[m]) for v, m in zip(values, known, strict=True) if m.any()])
            ),
            "unknown pixels counted, with a flow of 0": _mean(values),
            "the sum over valid pixels, by all of them": _mean(values * known),
        }
        if name != "epe":
            both = "the sum over both components, not their mean"
            means |= {(f"{n}, and {both}" if n else both): 2 * v for n, v in means.items()}
        found |= {f"{own}{n}" if n else name: v for n, v in means.items() if own or n}
    return {**found, "half of it": _mean(each[kind][known]) / 2}
