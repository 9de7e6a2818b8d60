"""The accumulated flow of residual outputs in NumPy, component by component.

Components lie apart, (2, B, h, w), which makes sums and the EPE of thousands of archs
cheap. Bits equal those of :func:`harness.supernet.loss.accumulate_flow`: both sum the same
numbers in the same order, and halving is exact.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_planes", "as_samples", "double"]

Planes = NDArray[np.float32]


def as_planes(flow: NDArray[np.float32]) -> Planes:
    """Return (B, h, w, channels) as a contiguous (channels, B, h, w)."""
    return np.ascontiguousarray(flow.transpose(3, 0, 1, 2))


def as_samples(planes: Planes) -> NDArray[np.float32]:
    """Return (2, B, h, w) as a view of shape (B, h, w, 2)."""
    return planes.transpose(1, 2, 3, 0)


def double(planes: Planes) -> Planes:
    """Resize (..., h, w) to (..., 2 h, 2 w) on TensorFlow 1's bilinear grid.

    Even places copy, odd ones lie half-way to the next, the last repeats.
    """
    *outer, height, width = planes.shape
    wide = np.empty((*outer, height, 2 * width), np.float32)
    wide[..., ::2] = planes
    # a + (b - a) / 2, columns before rows, as ResizeBilinear does: (a + b) / 2 rounds otherwise.
    between = planes[..., 1:] - planes[..., :-1]
    between *= np.float32(0.5)
    between += planes[..., :-1]
    wide[..., 1:-1:2] = between
    wide[..., -1] = planes[..., -1]
    tall = np.empty((*outer, 2 * height, 2 * width), np.float32)
    tall[..., ::2, :] = wide
    steps = wide[..., 1:, :] - wide[..., :-1, :]
    steps *= np.float32(0.5)
    steps += wide[..., :-1, :]
    tall[..., 1:-1:2, :] = steps
    tall[..., -1, :] = wide[..., -1, :]
    return tall
